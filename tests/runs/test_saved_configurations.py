"""A run folder's configuration is a stranger's until its owner says otherwise: nothing in it runs, or is looked up."""

import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from torch import nn

from rsna_det.config.compose import CONF, compose_config
from rsna_det.config.saved import own_targets, plain_values, read_saved, refused
from rsna_det.config.targets import MOVED
from rsna_det.data.synthetic.writing import write_synthetic
from rsna_det.errors import ConfigError
from rsna_det.models.weights import create_backbone
from rsna_det.runs.agreement import common_settings, differences_in_words
from rsna_det.runs.folder import RunFolder
from rsna_det.runs.resume import saved_run
from rsna_det.runs.session import build_module
from tests.evaluate.test_runs import evaluated
from tests.short_runs import options_of


@pytest.fixture
def run(synthetic_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunFolder]:
    """A run that was interrupted, and a module of a stranger that notes when it is imported."""
    (tmp_path / "stranger.py").write_text(
        "from pathlib import Path\n"
        "Path('ran').touch()\n"
        "from rsna_det.models.retinanet import MultiTaskRetinaNet\n"
        "class Own(MultiTaskRetinaNet):\n    pass\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("SECRET", "a secret")
    folder = RunFolder(tmp_path / "run")
    options_of(synthetic_root, folder.path)
    folder.checkpoints.mkdir()
    folder.last_checkpoint.touch()
    yield folder
    sys.modules.pop("stranger", None)


def change(run: RunFolder, key: str, value: object) -> None:
    config = OmegaConf.load(run.composed_config)
    OmegaConf.update(config, key, value, force_add=True)
    run.composed_config.write_text(OmegaConf.to_yaml(config))


DRAWN = (
    "data=synthetic",
    "data.num_images=12",
    "data.source_side=32",
    "data.image_size=64",
    "encoder=tiny",
    "logger=csv",
)

FOREIGN: dict[str, tuple[str, Any]] = {
    "another network": ("model._target_", "stranger.Own"),
    "a command": ("decoding._target_", "os.system"),
    "a module of the package": ("loss._target_", "rsna_det.evaluation.tables.pd.read_pickle"),
    "something else of the package": ("model._target_", "rsna_det.runs.provenance.git_state"),
    "a prefix of a good one": ("model._target_", "rsna_det.models.retinanet"),
    "a callback": ("callbacks.more", {"_target_": "stranger.Own"}),
    "within a value": ("loss.box_class", {"_target_": "stranger.Own"}),
    "within a list": ("trainer.plugins", [{"_target_": "stranger.Own"}]),
    "deep in lists": ("data.limit_images", [[{"a": [{"_target_": "stranger.Own"}]}]]),
    "a placeholder as target": ("model._target_", "${name}"),
    "a target that is no text": ("model._target_", ["stranger.Own"]),
    "the environment": ("data.root", "${oc.env:SECRET}"),
    "a part of a text": ("name", "run-${oc.env:SECRET}"),
    "a resolver in a resolver": ("name", "${either:${oc.env:SECRET},x}"),
    "another resolver": ("seed", "${oc.decode:'1'}"),
    "an escape": ("name", "\\${seed}"),
    "a folder elsewhere": ("callbacks.best.dirpath", "/etc"),
    "a folder above": ("callbacks.predictions.folder", "${run_dir}/../../etc"),
    "a logger's file": ("logger.csv.path", "~/.profile"),
    "Lightning's folder": ("trainer.default_root_dir", "/elsewhere"),
    "a checkpoint's name": ("callbacks.last.filename", "../../PWNED"),
    "attributes in a name": ("callbacks.last.filename", "PWNED{epoch.__class__.__mro__}"),
    "a long format in a name": ("callbacks.last.filename", "{epoch:>999999999}"),
    "a folder by another name": ("callbacks.more", {"where": "/elsewhere"}),
    "a project that is a folder": ("logger.wandb.project", "../../x"),
    "a logger among the losses": ("loss.run_dir", "/elsewhere"),
    "a server": ("logger.wandb.mode", "online"),
    "weights of another part": ("model.pretrained", True),
    "arguments that name files": ("encoder.options", {"checkpoint_path": "weights.bin"}),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_resume_refuses_what_conf_does_not_have(name: str, run: RunFolder, tmp_path: Path) -> None:
    key, value = FOREIGN[name]
    change(run, key, value)
    with pytest.raises(
        ConfigError, match=r"config\.yaml: .*A configuration of a stranger is code.*say it again, `"
    ) as error:
        saved_run([f"resume={run}"])
    assert f"resume={run} " in str(error.value)
    assert key in str(error.value)
    assert "a secret" not in str(error.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [("model._target_", "stranger.Own"), ("data.root", "${oc.env:SECRET}"), ("trainer.default_root_dir", "/elsewhere")],
)
def test_the_owner_says_it_again(key: str, value: str, run: RunFolder) -> None:
    change(run, key, value)
    options = saved_run([f"resume={run}", f"{key}={value}"])
    found: Any = options
    first, _, last = key.partition(".")
    found = getattr(found, first)[last]
    assert found == {"${oc.env:SECRET}": "a secret"}.get(value, value)


def test_another_value_is_still_no_confirmation(run: RunFolder, tmp_path: Path) -> None:
    change(run, "model._target_", "stranger.Own")
    with pytest.raises(ConfigError, match="cannot be changed when a run is resumed"):
        saved_run([f"resume={run}", "model._target_=rsna_det.models.retinanet.MultiTaskRetinaNet"])
    # A group says nothing of the values that it leaves as they are.
    change(run, "model._target_", "rsna_det.models.retinanet.MultiTaskRetinaNet")
    change(run, "trainer.limit_train_batches", [{"_target_": "stranger.Own"}])
    with pytest.raises(
        ConfigError, match=r"batches\.0\._target_ is 'stranger\.Own'.* trainer\.limit_train_batches=<its value>"
    ):
        saved_run([f"resume={run}", "trainer=cpu"])
    assert not (tmp_path / "ran").exists()


def test_the_command_line_is_the_users_own(run: RunFolder) -> None:
    options = saved_run([f"resume={run}", "+trainer.callbacks={_target_: stranger.Own}", "trainer.log_every_n_steps=5"])
    assert options.trainer["log_every_n_steps"] == 5


def test_somebody_elses_account_is_named_once_it_is_sent_to(run: RunFolder) -> None:
    change(run, "logger.wandb", {"_target_": "rsna_det.runs.tracking.wandb_logger", "mode": "offline", "entity": "eve"})
    assert not refused(run.config(), confirmed=())
    change(run, "logger.wandb.mode", "online")
    assert list(refused(run.config(), confirmed=["logger.wandb.mode"])) == ["logger.wandb.entity"]
    assert not refused(run.config(), confirmed=["logger.wandb.mode", "logger.wandb.entity"])
    # A report that only builds its network sends nothing.
    assert not refused(run.config(), confirmed=(), trained=False)


@pytest.mark.parametrize(
    "name", ["best", "epoch_{epoch:02d}", "{epoch}-{step}", "{epoch}_{val/map_best:.3f}", "run 1+2=3", None]
)
def test_plain_names_of_checkpoints_stay(name: str | None, run: RunFolder) -> None:
    change(run, "callbacks.best.filename", name)
    assert saved_run([f"resume={run}"]).callbacks["best"]["filename"] == name  # type: ignore[index]


@pytest.mark.parametrize("first", [["encoder.pretrained=true"], ["encoder.weights=/data/weights.pth"]])
def test_a_run_that_goes_on_needs_no_first_weights(
    first: list[str], synthetic_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(tmp_path / "run")
    options_of(synthetic_root, folder.path, *first, "paths.cache=/scratch", "study=null")
    folder.checkpoints.mkdir()
    folder.last_checkpoint.touch()
    options = saved_run([f"resume={folder}"])
    assert (options.encoder["pretrained"], options.encoder["weights"]) != (False, None)
    built: dict[str, Any] = {}

    def create(**given: Any) -> nn.Module:
        built.update(given)
        return create_backbone(**given)

    monkeypatch.setattr("rsna_det.models.encoder.create_backbone", create)
    build_module(options, resumed=True)
    assert (built["pretrained"], built["weights"]) == (False, None)


@pytest.mark.parametrize("key", ["data.root", "paths.synthetic"])
def test_resuming_draws_nothing(key: str, tmp_path: Path) -> None:
    folder, elsewhere = RunFolder(tmp_path / "run"), tmp_path / "elsewhere"
    words = [*DRAWN, f"{key}={elsewhere}"]
    config = compose_config("train", words)
    folder.save_config(config, words)
    folder.checkpoints.mkdir()
    folder.last_checkpoint.touch()
    with pytest.raises(ConfigError, match=rf"data\.root is {elsewhere}, where .*say so, `.* '?data\.root=") as error:
        saved_run([f"resume={folder}"])
    assert not elsewhere.exists()
    again = str(error.value).rpartition(f"resume={folder} ")[2].rstrip("`")
    assert saved_run([f"resume={folder}", *shlex.split(again)]).data["root"] == str(elsewhere)
    assert saved_run([f"resume={folder}", f"{key}={elsewhere}"]).data["root"] == str(elsewhere)
    write_synthetic(root=elsewhere, num_images=12, side=32, seed=0)
    assert saved_run([f"resume={folder}"]).data["root"] == str(elsewhere)


def test_a_saved_number_is_refused_as_a_value(run: RunFolder) -> None:
    change(run, "decoding.max_candidates", 10**13)
    with pytest.raises(
        ConfigError, match=r"config\.yaml: decoding\.max_candidates is 10000000000000: expected a whole"
    ):
        saved_run([f"resume={run}"])


def test_a_list_in_place_of_the_trainer_is_named(run: RunFolder) -> None:
    config = OmegaConf.load(run.composed_config)
    config["trainer"] = [[]]
    run.composed_config.write_text(OmegaConf.to_yaml(config))
    with pytest.raises(ConfigError, match=r"trainer is \[\[\]\]"):
        saved_run([f"resume={run.path}"])


def test_what_is_no_number_does_not_differ_from_itself(run: RunFolder) -> None:
    change(run, "encoder.name", float("nan"))
    assert differences_in_words([run, run]) == []


def test_what_conf_names_is_the_list() -> None:
    targets = own_targets()
    assert {"rsna_det.models.encoder.Encoder", "pytorch_lightning.Trainer", "torch.optim.Adam", *MOVED} <= targets
    written = {
        line.split("_target_:")[1].partition("#")[0].strip()
        for path in CONF.rglob("*.yaml")
        for line in path.read_text().splitlines()
        if "_target_:" in line and "hydra" not in path.relative_to(CONF).parts
    }
    assert written <= targets
    assert not any("*" in name or name.endswith(".") for name in targets)


@pytest.mark.parametrize("name", sorted(FOREIGN))
def test_reading_as_data_runs_nothing(name: str, run: RunFolder, tmp_path: Path) -> None:
    """What is compared, and what reports show."""
    key, value = FOREIGN[name]
    change(run, key, value)
    assert "a secret" not in str(plain_values(run.config()))
    with suppress(ConfigError):
        common_settings([run])
    assert not (tmp_path / "ran").exists()


def test_evaluate_reads_numbers_only(
    trained_folds: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run of the owner's own class is evaluated without it; a decoding of another class is refused."""

    monkeypatch.chdir(tmp_path)
    run = RunFolder(tmp_path / "run")
    shutil.copytree(trained_folds[0], run.path)
    change(run, "model._target_", "not.there.Own")
    assert 0 <= evaluated(tmp_path / "out", f"runs={run}")["honest_map"] <= 1
    for key, value, message in [
        ("decoding._target_", "os.system", r"decoding: it would call os\.system"),
        ("decoding.cut", float("nan"), r"decoding\.cut is nan: expected a number from 0 to 1"),
        ("decoding.cut", "0.5", r"decoding\.cut is '0\.5': expected a number"),
        ("decoding.cut_grid", [0.0, 0.9, 1e-12], r"decoding\.cut_grid .* steps"),
        ("decoding.max_candidates", 10**12, r"decoding\.max_candidates is 1000000000000"),
        ("data.image_size", 10**12, r"data\.image_size is 1000000000000: expected a whole number"),
    ]:
        shutil.copy(trained_folds[0] / ".hydra" / "config.yaml", run.composed_config)
        change(run, key, value)
        with pytest.raises(ConfigError, match=rf"config\.yaml: {message}"):
            common_settings([run])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &x [1]\nb: *x\n", "it holds an alias"),
        ("a: !!python/object/apply:os.system ['touch ran']\n", r"it holds the tag .*python/object/apply"),
        ("[" * 1000, "nested more than 50 deep"),
        ("a: {" * 100 + "}" * 100, "nested more than 50 deep|expected"),
        ("a: [", "while parsing"),
        ("a: 2026-13-45\n", "config.yaml"),
        ("\x00", "config.yaml"),
        ("- 1\n", "is not the configuration of a run"),
        ("1: 2\n", "is not the configuration of a run"),
        ("a: 1\n", "it lacks "),
        ("", "it lacks |is not the configuration"),
        ("a: ${b}\nb: ${a}\n", "it lacks "),
        ("a: " + "x" * 2**23, "expected up to"),
    ],
)
def test_a_damaged_configuration_is_named(text: str, message: str, run: RunFolder, tmp_path: Path) -> None:
    run.composed_config.write_text(text)
    with pytest.raises(ConfigError, match=rf"config\.yaml.*({message})|config\.yaml"):
        run.options()
    with pytest.raises(ConfigError, match=rf"({message})"):
        run.options()
    assert not (tmp_path / "ran").exists()


def test_references_that_multiply_stay_text(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    lines = [f"v{n}: ${{v{n - 1}}}${{v{n - 1}}}" for n in range(1, 40)]
    path.write_text("\n".join(["v0: x", *lines, "self: ${self}", "whole: ${inner}", "inner: {a: 1}", "plain: a${v0}"]))
    values = plain_values(read_saved(path))
    assert values["v3"] == "x" * 8
    assert values["v39"] == "${v38}${v38}"
    assert (values["self"], values["whole"], values["plain"]) == ("${self}", "${inner}", "ax")
