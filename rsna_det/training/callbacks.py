"""What a run does besides learning: freezes the encoder, seeds each epoch, writes candidates and pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.trainer.states import TrainerFn
from torch.optim import Optimizer

from rsna_det.drawing.boxes import BoxedImage, draw_boxes, sheet
from rsna_det.evaluation.tables import (
    RunTables,
    candidates_table,
    images_table,
    truth_table,
)
from rsna_det.structures import Batch, Category, Detections
from rsna_det.training.gather import gather_tables
from rsna_det.training.module import DetectorModule, ValidationOutput

LOGGED_AS = "val/detections"
"""The name of the images in loggers."""


class EpochSeed(Callback):
    """Seeds torch anew at each epoch, from the run's seed, the epoch and the device's rank.

    A run that was stopped and goes on then draws the same dropout as one that was not, and the devices of one run
    draw different ones.

    Args:
        seed: of the run.
    """

    def __init__(self, *, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Seed the CPU's generator and every GPU's."""
        mixed = np.random.SeedSequence((self.seed, trainer.current_epoch, trainer.global_rank)).generate_state(1)
        torch.manual_seed(int(mixed[0]))


class EncoderFreeze(Callback):
    """Leaves the encoder's weights alone for the first epochs.

    The published code announces this for its first epoch and never does it. Gradients are dropped rather than not
    computed: a distributed run must know its set of parameters from the start.

    Args:
        epochs: how many; 0 for none.

    Raises:
        ValueError: if the number is negative.
    """

    def __init__(self, *, epochs: int) -> None:
        if epochs < 0:
            raise ValueError(f"the encoder is frozen for 0 or more epochs, got {epochs}")
        self.epochs = epochs

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:  # noqa: ARG002
        """Drop the encoder's gradients before they are clipped and applied."""
        if trainer.current_epoch < self.epochs:
            for parameter in pl_module.model.encoder.parameters():  # type: ignore[union-attr]
                parameter.grad = None


class FiniteLoss(Callback):
    """Ends a run whose loss is no longer a number, with the remedy."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Look at the epoch's mean: one bad step spoils it.

        Raises:
            FloatingPointError: if it is not finite.
        """
        loss = trainer.callback_metrics.get("train/loss")
        if loss is not None and not loss.isfinite():
            raise FloatingPointError(
                f"the training loss of epoch {trainer.current_epoch} is {loss.item()}: lower `optimizer.optimizer.lr`, "
                "or train with `trainer.precision=32-true`, then start anew or `resume` from the last checkpoint"
            )


class PredictionWriter(Callback):
    """Writes the out-of-fold candidates of every epoch before NMS, and the truth once.

    Args:
        folder: the run's folder for them.
    """

    def __init__(self, *, folder: str) -> None:
        self.tables = RunTables(Path(folder))
        self._candidates: list[Any] = []
        self._images: list[Any] = []

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Write the run's truth table."""
        if trainer.is_global_zero:
            data: Any = trainer.datamodule  # type: ignore[attr-defined]
            self.tables.write_truth(truth_table(data.images, val_fold=data.fold))

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Forget what an interrupted epoch may have left."""
        self._candidates, self._images = [], []

    def on_validation_batch_end(  # type: ignore[override]
        self, trainer: Trainer, pl_module: LightningModule, outputs: ValidationOutput, batch: Batch, *_: Any
    ) -> None:
        """Keep a batch's rows."""
        del trainer, pl_module
        found, ids = outputs.candidates, batch.image_ids
        self._candidates.append(candidates_table(image_ids=ids, batch=found))
        self._images.append(images_table(image_ids=ids, batch=found, probabilities=outputs.probabilities))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Gather the rows of all devices and write the epoch's two tables."""
        if trainer.state.fn != TrainerFn.FITTING:
            return
        candidates, images = gather_tables(self._candidates), gather_tables(self._images)
        if trainer.is_global_zero and images is not None and candidates is not None:
            self.tables.write_epoch(trainer.current_epoch, candidates=candidates, images=images)


class DetectionImages(Callback):
    """Draws detections against truth on some validation images after every epoch, the same ones each time.

    Detections are those at the epoch's best cut. The sheet goes to the run's folder; a logger that takes detections
    gets the same images with boxes to switch on and off, and one that takes pictures only the sheet.

    Args:
        folder: the run's folder for pictures.
        count: images on the sheet; half of them with opacities where there are as many. 0 for no sheet.
        columns: images of a row.
        side: of one image on the sheet, in its pixels.
    """

    def __init__(self, *, folder: str, count: int, columns: int, side: int) -> None:
        if count < 0 or columns < 1 or side < 16:
            raise ValueError(
                f"a sheet has 0 or more images in 1 or more columns, got {count} in {columns} of {side} px"
            )
        self.folder = Path(folder)
        self.count, self.columns, self.side = count, columns, side
        self._drawn: list[tuple[Batch, int, Detections]] = []

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Start a new sheet."""
        self._drawn = []

    def on_validation_batch_end(  # type: ignore[override]
        self, trainer: Trainer, pl_module: DetectorModule, outputs: ValidationOutput, batch: Batch, *_: Any
    ) -> None:
        """Keep the images that belong on the sheet."""
        if not trainer.is_global_zero or len(self._drawn) >= self.count:
            return
        found = pl_module.detections_before_cut(outputs.candidates)
        for row, category in enumerate(batch.categories.tolist()):
            share = [b.categories[r].item() == Category.OPACITY for b, r, _ in self._drawn]
            same_kind = sum(share) if category == Category.OPACITY else len(share) - sum(share)
            if same_kind < (self.count + 1) // 2 and len(self._drawn) < self.count:
                self._drawn.append((batch, row, found[row]))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Draw the sheet."""
        if not self._drawn or trainer.state.fn != TrainerFn.FITTING:
            return
        cut = float(trainer.callback_metrics["val/cut_best"])
        boxed = [_boxed_image(*drawn, cut=cut) for drawn in self._drawn]
        path = self.folder / f"epoch_{trainer.current_epoch:02d}.png"
        self._write_sheet(boxed, path)
        for logger in trainer.loggers:
            if hasattr(logger, "log_detections"):
                logger.log_detections(LOGGED_AS, boxed, epoch=trainer.current_epoch, cut=cut)
            elif hasattr(logger, "log_image"):
                logger.log_image(LOGGED_AS, [str(path)], caption=[f"score above {cut:.2f}"])

    def _write_sheet(self, boxed: Sequence[BoxedImage], path: Path) -> None:
        pictures = [
            draw_boxes(b.image, detections=b.detections, truths=b.truths, zoom=self.side / b.image.shape[-1])
            for b in boxed
        ]
        drawn = sheet(pictures, captions=[b.caption for b in boxed], columns=self.columns, side=self.side)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawn).save(path)


def _boxed_image(batch: Batch, row: int, found: Detections, *, cut: float) -> BoxedImage:
    """One network image with its boxes, which lie in source pixels, in its own."""
    scale = batch.images.shape[-1] / float(batch.source_sizes[row].max())
    shown = found.scores > cut
    return BoxedImage(
        image=batch.images[row, 0].cpu().numpy(),
        detections=Detections(boxes=found.boxes[shown] * scale, scores=found.scores[shown]),
        truths=batch.source_boxes[row][batch.source_box_mask[row]].cpu().numpy() * scale,
        caption=f"{Category(int(batch.categories[row])).name.lower()} {batch.image_ids[row][:8]}",
    )
