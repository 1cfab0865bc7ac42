"""A run that ended as configured is finished: the reason is said and recorded, and starting again trains no more."""

import json
import logging
from pathlib import Path

import pandas as pd
import pytest

from rsna_det.config.lightning_messages import quieten_lightning
from rsna_det.runs.folder import RunFolder
from rsna_det.runs.records import Result, Stop
from rsna_det.runs.resume import saved_run
from rsna_det.runs.session import run
from rsna_det.studies.worker import state_of
from rsna_det.training.checkpoint_io import AtomicCheckpointIO
from tests.short_runs import TRAINING_WARNINGS, options_of

pytestmark = TRAINING_WARNINGS

EARLY = "+callbacks.early={_target_: pytorch_lightning.callbacks.EarlyStopping, monitor: learning_rate, mode: max}"
# One epoch without improvement is enough; the rate of the schedule falls after its peak.
EARLY_STOPPING = [EARLY, "+callbacks.early.patience=1", "+callbacks.early.min_delta=1.0"]


def resumed(folder: Path, *changes: str) -> None:
    run(saved_run([f"resume={folder}", *changes]), checkpoint=RunFolder(folder).last_checkpoint)


def epochs_of(folder: Path) -> list[int]:
    return [int(epoch) for epoch in pd.read_csv(folder / "metrics.csv")["epoch"]]


@pytest.mark.parametrize(
    ("options", "by", "reason"),
    [
        (EARLY_STOPPING, "EarlyStopping", "EarlyStopping: Monitored metric learning_rate did not improve"),
        (["+trainer.max_time=00:00:00:01"], "max_time", "trainer.max_time=00:00:00:01 is over"),
        (["+trainer.max_steps=8"], "max_steps", "trainer.max_steps=8 is reached"),
    ],
)
def test_an_early_end_is_the_end(
    options: list[str], by: str, reason: str, synthetic_root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    folder = tmp_path / "run"
    chosen = options_of(synthetic_root, folder, "trainer.max_epochs=9", "callbacks.images.count=1", *options)
    run(chosen)
    result = RunFolder(folder).result()
    assert result is not None
    assert result.stopped is not None
    assert result.stopped.by == by
    assert result.stopped.reason.startswith(reason)
    assert f"training ended: {reason}" in caplog.text
    assert result.epochs < 9
    assert RunFolder(folder).is_finished(epochs=9, limits=chosen.trainer)
    state = state_of(RunFolder(folder), epochs=9)
    assert state.state == "finished"
    assert reason in state.detail
    before = epochs_of(folder)
    resumed(folder)
    again = RunFolder(folder).result()
    assert again is not None
    assert {**again.model_dump(), "seconds": 0} == {**result.model_dump(), "seconds": 0}
    assert epochs_of(folder) == before


def test_a_run_killed_after_its_early_end_has_ended(
    synthetic_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lightning forgets that a callback stopped it: without our record the run would train one more epoch."""
    folder = tmp_path / "run"
    options = options_of(synthetic_root, folder, "trainer.max_epochs=9", *EARLY_STOPPING)
    run(options)
    whole = RunFolder(folder).result()
    assert whole is not None
    RunFolder(folder).result_file.unlink()
    trained = epochs_of(folder)
    resumed(folder)
    result = RunFolder(folder).result()
    assert result is not None
    assert (epochs_of(folder), result.stopped, result.metrics) == (trained, whole.stopped, whole.metrics)


def test_a_limit_that_is_lifted_lets_the_run_go_on(synthetic_root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    options = options_of(
        synthetic_root, folder, "trainer.max_epochs=99", "optimizer=paper", "+trainer.max_time=00:00:00:01"
    )
    run(options)
    assert RunFolder(folder).is_finished(epochs=99, limits=options.trainer)
    longer = saved_run([f"resume={folder}", "trainer.max_time=01:00:00:00"])
    assert not RunFolder(folder).is_finished(epochs=99, limits=longer.trainer)


def test_older_results_are_those_of_their_last_epoch() -> None:
    old = Result.model_validate({"epochs": 3, "seconds": 1.0, "best_val_map": 0.1, "metrics": {}})
    assert old.ends(epochs=3)
    assert not old.ends(epochs=4)
    reached = Result(**(old.model_dump() | {"stopped": Stop(by="max_epochs", limit="3", reason="trained")}))
    assert not reached.ends(epochs=4, limits={"max_epochs": 4})


def test_a_killed_run_that_had_finished_gets_its_whole_result(
    synthetic_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    save = AtomicCheckpointIO.save_checkpoint

    def save_and_stop(self: AtomicCheckpointIO, checkpoint: dict[str, object], path: str, **options: object) -> None:
        save(self, checkpoint, path, **options)
        if Path(path).name == "last.ckpt":
            raise RuntimeError("the power went out")

    with monkeypatch.context() as patched:
        patched.setattr(AtomicCheckpointIO, "save_checkpoint", save_and_stop)
        with pytest.raises(RuntimeError, match="power"):
            run(options_of(synthetic_root, folder))
    resumed(folder)
    row = pd.read_csv(folder / "metrics.csv").iloc[-1].drop(["epoch", "step"])
    result = json.loads((folder / "result.json").read_text())
    assert result["metrics"] == row.to_dict()
    assert result["epochs"] == 1
    assert result["best_val_map"] == row["val/map_best"]


def test_a_worse_epoch_does_not_replace_the_best_checkpoint_of_a_moved_run(
    synthetic_root: Path, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    folder, moved = tmp_path / "run", tmp_path / "elsewhere" / "run"
    # A rate of 0 learns nothing: every epoch scores the same, and only the first is better than none before.
    options = options_of(
        synthetic_root, folder, "trainer.max_epochs=1", "optimizer=paper", "optimizer.optimizer.lr=0.0"
    )
    run(options)
    moved.parent.mkdir()
    folder.rename(moved)
    best = (moved / "checkpoints" / "best.ckpt").read_bytes()
    resumed(moved, "trainer.max_epochs=2")
    assert (moved / "checkpoints" / "best.ckpt").read_bytes() == best
    assert epochs_of(moved) == [0, 1]
    assert not folder.exists()
    assert "dirpath has changed" not in " ".join(str(warning.message) for warning in recwarn)


def test_lightnings_profiler_and_its_early_end_are_seen(
    synthetic_root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    quieten_lightning()
    caplog.set_level(logging.INFO)
    ends_soon = ["+trainer.profiler=simple", "+trainer.max_time={seconds: 1}", "trainer.max_epochs=100"]
    run(options_of(synthetic_root, tmp_path / "run", *ends_soon))
    assert "FIT Profiler Report" in caplog.text
    assert "Time limit reached" in caplog.text
    assert "GPU available" not in caplog.text
