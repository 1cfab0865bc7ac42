"""A folder that holds the results of another command, or of other options, is refused; the same goes on."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from rsna_det.config.command import Command
from rsna_det.config.options import EvaluateOptions, PredictOptions
from rsna_det.config.outputs import (
    EVALUATE,
    MARKS,
    PREDICT,
    STUDY,
    TRAIN,
    UNKNOWN,
    check_free,
    command_of,
    write_record,
)
from rsna_det.errors import InUseError
from rsna_det.predict import folder as prediction
from rsna_det.runs.folder import RunFolder
from tests.faults.killing import files_of

CONFIG = OmegaConf.create({"runs": "some", "splits": 3, "out": "here", "run_dir": "???"})


def recorded(folder: Path, command: str, config: object = CONFIG) -> None:
    hydra = OmegaConf.create({"hydra": {"job": {"name": command}}})
    write_record(folder, config, hydra=hydra, overrides=["splits=3"])  # type: ignore[arg-type]


def test_what_is_not_there_and_what_is_nobodys_is_free(tmp_path: Path) -> None:
    check_free(tmp_path / "new", command=TRAIN, config=CONFIG)
    for name in ("notes.txt", "train.log", "run.lock", ".in_use.lock", "slurm-1.out"):
        (tmp_path / name).write_text("mine")
    (tmp_path / "images").mkdir()
    check_free(tmp_path, command=TRAIN, config=CONFIG)


@pytest.mark.parametrize("owner", [TRAIN, PREDICT, EVALUATE, STUDY])
def test_every_mark_of_another_command_is_refused(owner: str, tmp_path: Path) -> None:
    for number, mark in enumerate(MARKS[owner]):
        folder = tmp_path / str(number)
        left = folder / mark.replace("*", "00")
        left.parent.mkdir(parents=True)
        left.write_text("results")
        for command in {TRAIN, PREDICT, EVALUATE} - {owner}:
            with pytest.raises(InUseError, match=rf"{folder} holds .*{left.name}.*: choose another folder"):
                check_free(folder, command=command, config=CONFIG)
        # Without a record nobody knows what options these results are of.
        with pytest.raises(InUseError, match="of other options"):
            check_free(folder, command=owner, config=CONFIG)


def test_the_same_options_go_on_and_others_are_refused(tmp_path: Path) -> None:
    recorded(tmp_path, EVALUATE)
    (tmp_path / "grid.csv").write_text("")
    assert command_of(tmp_path) == EVALUATE
    moved = OmegaConf.merge(CONFIG, {"out": "elsewhere", "run_dir": "there"})
    check_free(tmp_path, command=EVALUATE, config=moved)
    other = OmegaConf.merge(CONFIG, {"splits": 4})
    with pytest.raises(InUseError, match="holds an evaluation of other options"):
        check_free(tmp_path, command=EVALUATE, config=other)
    with pytest.raises(InUseError, match="holds an evaluation"):
        check_free(tmp_path, command=TRAIN, config=CONFIG)


@pytest.mark.parametrize("text", ["a: [1", "words", ""])
def test_a_record_that_cannot_be_read_is_that_of_another(text: str, tmp_path: Path) -> None:
    recorded(tmp_path, TRAIN)
    (tmp_path / ".hydra" / "config.yaml").write_text(text)
    with pytest.raises(InUseError, match="holds a training run of other options"):
        check_free(tmp_path, command=TRAIN, config=CONFIG)


@pytest.mark.parametrize(
    "text",
    [
        'hydra: {job: {name: "${oc.env:COMMAND}"}}',
        'hydra: {job: {name: "${hydra:foo}"}}',
        "hydra: [1]",
        "hydra: {job: train}",
        "hydra: {job: {name: [train]}}",
        "hydra: {job: {name: some_tool}}",
        "hydra: {}",
        "a: [1",
        "words",
    ],
)
def test_a_record_of_hydra_is_read_as_data(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMMAND", EVALUATE)
    recorded(tmp_path, TRAIN)
    (tmp_path / ".hydra" / "hydra.yaml").write_text(text)
    assert command_of(tmp_path) == UNKNOWN
    with pytest.raises(InUseError, match=rf"{tmp_path} holds what another program has written \(.*\.hydra\): choose"):
        check_free(tmp_path, command=EVALUATE, config=CONFIG)


def test_a_record_without_hydras_part_is_of_a_studys_run(tmp_path: Path) -> None:
    recorded(tmp_path, TRAIN)
    (tmp_path / ".hydra" / "hydra.yaml").unlink()
    assert command_of(tmp_path) == TRAIN


def test_half_a_record_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(self: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            recorded(tmp_path, TRAIN)
    assert command_of(tmp_path) is None
    check_free(tmp_path, command=EVALUATE, config=CONFIG)
    recorded(tmp_path, EVALUATE)
    assert [path.name for path in tmp_path.iterdir()] == [".hydra"]


def test_the_marks_are_the_names_of_the_rooms_themselves(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    files = [run.provenance_file, run.result_file, run.metrics_file, run.description, run.failure, run.wandb_id]
    files += [run.best_checkpoint, run.last_checkpoint, run.tables.truth_path, run.pictures / "epoch_03.png"]
    files += [run.resolved_config, run.wandb]
    for file in files:
        assert any(file.relative_to(tmp_path).match(mark) for mark in MARKS[TRAIN]), file
    # The operating point is a file of an evaluation, of a prediction and of a run.
    for name in {*prediction._ALL_FILES, prediction.PARTS, prediction.PICTURES} - {"operating_point.yaml"}:
        assert any(Path(name).match(mark) for mark in MARKS[PREDICT]), name


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [("evaluate", EvaluateOptions, ["runs=some"]), ("predict", PredictOptions, ["checkpoints=a", "images=b"])],
)
def test_a_command_leaves_a_run_alone(
    name: str, options: type, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "best.ckpt").write_text("weights")
    before = files_of(tmp_path)
    work: Callable[[object], int] = lambda _: 0  # noqa: E731
    command = Command(
        name=name,
        options=options,
        work=work,
        folder=lambda o: o.out,
        check=lambda _: None,
        knows_its_own=name == "predict",
    )
    for more in ([], ["overwrite=true"] if name == "predict" else ["splits=3"]):
        monkeypatch.setattr(sys, "argv", [name, f"out={tmp_path}", *words, *more])
        with pytest.raises(SystemExit, match=r"error: .* holds a training run .*best\.ckpt"):
            command.main()
    assert files_of(tmp_path) == before
