"""A run takes a folder of its own; a job that Slurm queued again goes on in the one that it had."""

from pathlib import Path

import pytest
from omegaconf import DictConfig

from rsna_det.errors import ConfigError, InUseError
from rsna_det.runs.folder import RunFolder
from rsna_det.runs.taking import check_command_line, check_run_folder
from tests.short_runs import composed


@pytest.fixture
def config(tmp_path: Path) -> DictConfig:
    """Of a run whose record lies in its folder."""
    made = composed(tmp_path, tmp_path / "run")
    RunFolder(tmp_path / "run").save_config(made, [])
    return made


def test_a_start_that_trained_nothing_is_started_again(config: DictConfig, tmp_path: Path) -> None:
    assert check_run_folder(tmp_path / "run", config) is None
    config.seed = 9
    with pytest.raises(InUseError, match="holds a training run of other options"):
        check_run_folder(tmp_path / "run", config)


def test_a_requeued_job_resumes_and_another_does_not(
    config: DictConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = RunFolder(tmp_path / "run").last_checkpoint
    last.parent.mkdir()
    last.write_text("weights")
    with pytest.raises(InUseError, match=r"resume it with `resume=.*/run`, or choose another folder"):
        check_run_folder(tmp_path / "run", config)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert check_run_folder(tmp_path / "run", config) == last
    config.seed = 9
    with pytest.raises(InUseError, match="holds a training run"):
        check_run_folder(tmp_path / "run", config)


def test_a_sweep_may_have_a_folder_of_its_own(tmp_path: Path) -> None:
    check_command_line([f"hydra.sweep.dir={tmp_path}", "seed=0,1", "data.root=somewhere"], sweep=True)
    (tmp_path / "multirun.yaml").write_text("")
    with pytest.raises(InUseError, match="holds the runs of another sweep"):
        check_command_line([f"hydra.sweep.dir={tmp_path}", "seed=0,1"], sweep=True)


@pytest.mark.parametrize(
    "name", ["../../evil", "/evil", "..", ".hidden", "a/../b", "a//b", "a/", "'~'", "a\\\\b", "''"]
)
@pytest.mark.parametrize("key", ["name", "study"])
def test_names_lead_out_of_no_folder(key: str, name: str, tmp_path: Path) -> None:
    words = ["data.root=somewhere", f"paths.runs={tmp_path / 'runs'}"]
    expected = rf"{key}=.* is no name for a folder: give letters, digits"
    with pytest.raises(ConfigError, match=expected):
        check_command_line([*words, f"{key}={name}"], sweep=False)
    for several in (f"{key}={name}", f"{key}=good,{name}", f"{key}=choice({name},good)"):
        with pytest.raises(ConfigError, match=expected):
            check_command_line([*words, several, f"hydra.sweep.dir={tmp_path / 'sweep'}"], sweep=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a study of/mine", "v1.2+b_c-d", "größe", "heavy_aug"])
def test_plain_names_stay(name: str, tmp_path: Path) -> None:
    check_command_line(["data.root=a", f"paths.runs={tmp_path}", f"name='{name}'", f"study='{name}'"], sweep=False)
    check_command_line(["seed=0,1", f"name='{name}',other", f"hydra.sweep.dir={tmp_path}"], sweep=True)


@pytest.mark.parametrize("name", ["../../best", "/best", "a/../../b"])
def test_names_of_checkpoints_stay_in_their_folder(name: str, tmp_path: Path) -> None:
    words = ["data.root=a", f"paths.runs={tmp_path}", f"callbacks.best.filename={name}"]
    with pytest.raises(ConfigError, match=r"callbacks\.best\.filename=.* leads out of the folder of the checkpoints"):
        check_command_line(words, sweep=False)
    check_command_line([*words[:2], "callbacks=every_epoch"], sweep=False)
