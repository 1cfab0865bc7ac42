"""Runs that end early, diverge or validate seldom: what they say and leave."""

import logging
from pathlib import Path

import pandas as pd
import pytest
import torch

from rsna_det.errors import DivergedError, ResourceError
from rsna_det.runs.session import run
from rsna_det.training.checkpoint_io import read_checkpoint
from rsna_det.training.module import DetectorModule
from rsna_det.training.validation import ValidationMetrics
from tests.short_runs import TRAINING_WARNINGS, options_of

pytestmark = TRAINING_WARNINGS


def files_of(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.glob("*/*") if path.parent.name != ".hydra")


def test_a_run_whose_loss_is_nan_leaves_nothing_of_that_epoch(
    synthetic_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second epoch's weights are NaN: neither a checkpoint nor a table nor a score of them is written."""
    step = DetectorModule.training_step

    def diverging(self: DetectorModule, batch: object, batch_idx: int) -> torch.Tensor:
        factor = torch.nan if self.current_epoch == 1 else 1.0
        return factor * step(self, batch, batch_idx)  # type: ignore[arg-type]

    monkeypatch.setattr(DetectorModule, "training_step", diverging)
    with pytest.raises(DivergedError, match=r"training loss of epoch 1 is NaN or infinite: lower"):
        run(options_of(synthetic_root, tmp_path, "trainer.max_epochs=3"))
    assert files_of(tmp_path) == [
        *("checkpoints/best.ckpt", "checkpoints/epoch_00.ckpt", "checkpoints/last.ckpt"),
        "images/epoch_00.png",
        *("predictions/epoch_00.candidates.parquet", "predictions/epoch_00.images.parquet"),
        "predictions/truth.parquet",
    ]
    assert pd.read_csv(tmp_path / "metrics.csv")["epoch"].tolist() == [0]


def test_weights_that_the_last_step_made_nan_have_no_score(
    synthetic_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All losses of the epoch are finite, the outputs in validation are not."""
    finite = ValidationMetrics.update_outputs

    def update(self: ValidationMetrics, outputs: object, candidates: object) -> None:
        outputs.box_logits[0, 0] = torch.nan  # type: ignore[attr-defined]
        finite(self, outputs, candidates)  # type: ignore[arg-type]

    monkeypatch.setattr(ValidationMetrics, "update_outputs", update)
    with pytest.raises(DivergedError, match=r"outputs for 2 validation images of epoch 0 are NaN or infinite"):
        run(options_of(synthetic_root, tmp_path))
    assert files_of(tmp_path) == ["predictions/truth.parquet"]


def test_a_run_that_ends_within_an_epoch_validates_the_weights_it_ends_with(
    synthetic_root: Path, tmp_path: Path
) -> None:
    """18 images train, 4 a step: 5 steps an epoch. The 7th step is the second of the second epoch."""
    run(options_of(synthetic_root, tmp_path, "trainer.max_epochs=4", "+trainer.max_steps=7"))
    metrics = pd.read_csv(tmp_path / "metrics.csv")
    assert metrics["step"].tolist() == [4, 6]  # counted from 0
    assert not metrics["val/map_best"].isna().any()
    last = read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")
    assert last["global_step"] == 7
    assert (tmp_path / "predictions" / "epoch_01.candidates.parquet").is_file()
    # The cycle is as long as the run.
    schedule = last["lr_schedulers"][0]
    assert schedule["total_steps"] == schedule["last_epoch"] == 7


def test_an_epoch_without_validation_has_no_scores_of_another(
    synthetic_root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="rsna_det"):
        run(options_of(synthetic_root, tmp_path, "trainer.max_epochs=3", "+trainer.check_val_every_n_epoch=2"))
    metrics = pd.read_csv(tmp_path / "metrics.csv")
    assert all((tmp_path / "checkpoints" / f"epoch_0{epoch}.ckpt").is_file() for epoch in range(3))
    lines = [line for line in caplog.messages if line.startswith("epoch ")]
    assert ["val/loss" in line for line in lines] == [False, True, False]
    assert metrics["val/map"].isna().tolist() == [True, False, True]
    assert metrics["val/loss"].isna().tolist() == [True, False, True]
    assert not metrics["train/loss"].isna().any()


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory")])
def test_too_little_memory_names_what_to_lower(
    error: BaseException, synthetic_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise error

    monkeypatch.setattr(DetectorModule, "training_step", full)
    with pytest.raises(ResourceError, match=r"data\.batch_size=4 at 64 px.*precision=16-mixed.*model=without_p2"):
        run(options_of(synthetic_root, tmp_path))


def test_the_plan_says_how_many_boxes_no_anchor_reaches(
    synthetic_root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="rsna_det"):
        run(options_of(synthetic_root, tmp_path / "fine"))
        run(options_of(synthetic_root, tmp_path / "coarse", "model.levels=[5,6,7]"))
    said = [record for record in caplog.records if record.getMessage().startswith("anchors:")]
    assert [record.levelname for record in said] == ["INFO", "WARNING"]
    assert "reach all but" in said[0].getMessage()
    assert "100% of the boxes that train" in said[1].getMessage()
    assert "raise data.image_size (64 px), or add finer levels to model.levels ([5, 6, 7])" in said[1].getMessage()
