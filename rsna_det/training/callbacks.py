"""Callbacks of a run: seeds of each epoch, frozen encoder, diverged loss, tables of predictions, pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor
from torch.optim import Optimizer

from rsna_det.drawing.boxes import BoxedImage, draw_boxes, sheet
from rsna_det.errors import DivergedError, InvalidValueError
from rsna_det.evaluation.tables import (
    RunTables,
    candidates_table,
    images_table,
    truth_table,
)
from rsna_det.files.atomic import whole_file
from rsna_det.structures import Batch, Category, Detections
from rsna_det.training.data import training_data
from rsna_det.training.gather import gather_tables
from rsna_det.training.module import DetectorModule
from rsna_det.training.validation import ValidationOutput

_AGAINST_DIVERGENCE = (
    "lower `optimizer.optimizer.lr`, or set `trainer.precision=32-true`, then start again or `resume` from the last "
    "checkpoint"
)
LOGGED_AS = "val/detections"
"""Name of the images in loggers."""


class EpochSeed(Callback):
    """Seeds torch at the start of each epoch, from the run's seed, the epoch and the device's rank.

    A resumed run then draws the same dropout as an uninterrupted one, and the devices of a run draw different dropout.

    Args:
        seed: of the run.
    """

    def __init__(self, *, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Seed the generators of the CPU and of every GPU."""
        mixed = np.random.SeedSequence((self.seed, trainer.current_epoch, trainer.global_rank)).generate_state(1)
        torch.manual_seed(int(mixed[0]))


class EncoderFreeze(Callback):
    """Freezes the encoder's weights for the first epochs.

    The published code announces this for its first epoch but does not do it. Gradients are computed and dropped, since
    distributed training fixes its set of parameters at the start.

    Args:
        epochs: number of them; 0 for none.

    Raises:
        InvalidValueError: if the number is negative.
    """

    def __init__(self, *, epochs: int) -> None:
        if epochs < 0:
            raise InvalidValueError(f"callbacks.encoder_freeze.epochs is {epochs}; expected 0 or more")
        self.epochs = epochs

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:  # noqa: ARG002
        """Drop the encoder's gradients before clipping and the optimizer's step."""
        if trainer.current_epoch < self.epochs:
            for parameter in pl_module.model.encoder.parameters():  # type: ignore[union-attr]
                parameter.grad = None


class FiniteLoss(Callback):
    """Ends a run that has diverged, before anything of that epoch is written: no checkpoint, table or score."""

    def __init__(self) -> None:
        self._finite: Tensor | None = None

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Forget the steps of the last epoch."""
        self._finite = None

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: Trainer, pl_module: LightningModule, outputs: Mapping[str, Tensor], batch: object, batch_idx: int
    ) -> None:
        """Note whether the step's loss is finite, without waiting for the device."""
        del trainer, pl_module, batch, batch_idx
        finite = outputs["loss"].detach().isfinite()
        self._finite = finite if self._finite is None else self._finite & finite

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Check the training of the epoch.

        Raises:
            DivergedError: if the loss of a step was not finite.
        """
        self._check_steps(trainer)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: DetectorModule) -> None:  # type: ignore[override]
        """Check what the network made of the validation images.

        Raises:
            DivergedError: if an output is not finite.
        """
        images = pl_module.metrics.images_not_finite
        if trainer.state.fn == TrainerFn.FITTING and images:
            raise DivergedError(
                f"the network's outputs for {images} validation images of epoch {trainer.current_epoch} are NaN or "
                f"infinite: {_AGAINST_DIVERGENCE}"
            )

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Check the training of an epoch without validation.

        Raises:
            DivergedError: if the loss of a step was not finite.
        """
        self._check_steps(trainer)

    def _check_steps(self, trainer: Trainer) -> None:
        """On all devices alike: one that ends alone leaves the others waiting."""
        if self._finite is None:
            return
        if not trainer.strategy.reduce_boolean_decision(bool(self._finite), all=True):
            raise DivergedError(
                f"the training loss of epoch {trainer.current_epoch} is NaN or infinite: {_AGAINST_DIVERGENCE}"
            )


class PredictionWriter(Callback):
    """Writes every epoch's out-of-fold candidates before NMS, and the ground truth once.

    Args:
        folder: of the run's tables.
    """

    def __init__(self, *, folder: str) -> None:
        self.tables = RunTables(Path(folder))
        self._candidates: list[Any] = []
        self._images: list[Any] = []

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Write the run's truth table."""
        if trainer.is_global_zero:
            data = training_data(trainer)
            self.tables.write_truth(truth_table(data.images, val_fold=data.fold))

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Forget the rows of an interrupted epoch."""
        self._candidates, self._images = [], []

    def on_validation_batch_end(  # type: ignore[override]
        self, trainer: Trainer, pl_module: LightningModule, outputs: ValidationOutput, batch: Batch, *_: Any
    ) -> None:
        """Keep a batch's rows."""
        del trainer, pl_module
        candidates, ids = outputs.candidates, batch.image_ids
        self._candidates.append(candidates_table(image_ids=ids, batch=candidates))
        self._images.append(images_table(image_ids=ids, batch=candidates, probabilities=outputs.probabilities))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Gather the rows of all devices and write the epoch's two tables."""
        if trainer.state.fn != TrainerFn.FITTING:
            return
        candidates, images = gather_tables(self._candidates), gather_tables(self._images)
        if trainer.is_global_zero and images is not None and candidates is not None:
            self.tables.write_epoch(trainer.current_epoch, candidates=candidates, images=images)


class DetectionImages(Callback):
    """Draws detections and true boxes on some validation images after every epoch, the same images each time.

    Detections are those at the epoch's best cut. The sheet goes to the run's folder and to loggers that take pictures;
    loggers that take detections get the images with boxes to switch on and off instead.

    Args:
        folder: of the run's pictures.
        count: images on the sheet, half of them with opacities if there are as many; 0 for no sheet.
        columns: images per row.
        side: of one image on the sheet, in its pixels.

    Raises:
        InvalidValueError: for a number out of range.
    """

    def __init__(self, *, folder: str, count: int, columns: int, side: int) -> None:
        if count < 0 or columns < 1 or side < 16:
            raise InvalidValueError(
                f"callbacks.images has count {count}, columns {columns} and side {side}; expected 0 or more images, "
                "1 or more columns and 16 px or more"
            )
        self.folder = Path(folder)
        self.count, self.columns, self.side = count, columns, side
        self._drawn: list[tuple[Batch, int, Detections]] = []
        self._opacities = 0

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Start a new sheet."""
        self._drawn, self._opacities = [], 0

    def on_validation_batch_end(  # type: ignore[override]
        self, trainer: Trainer, pl_module: DetectorModule, outputs: ValidationOutput, batch: Batch, *_: Any
    ) -> None:
        """Keep the images that belong on the sheet."""
        if not trainer.is_global_zero or len(self._drawn) >= self.count:
            return
        detections = pl_module.detections_before_cut(outputs.candidates)
        for row, category in enumerate(batch.categories.tolist()):
            is_opacity = category == Category.OPACITY
            same_kind = self._opacities if is_opacity else len(self._drawn) - self._opacities
            if same_kind < (self.count + 1) // 2 and len(self._drawn) < self.count:
                self._opacities += is_opacity
                self._drawn.append((batch, row, detections[row]))

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
        with whole_file(path) as partial:
            Image.fromarray(drawn).save(partial, format="PNG")


def _boxed_image(batch: Batch, row: int, detections: Detections, *, cut: float) -> BoxedImage:
    """One network image with its boxes, converted from source to network pixels."""
    scale = batch.images.shape[-1] / float(batch.source_sizes[row].max())
    shown = detections.scores > cut
    return BoxedImage(
        image=batch.images[row, 0].cpu().numpy(),
        detections=Detections(boxes=detections.boxes[shown] * scale, scores=detections.scores[shown]),
        truths=batch.source_boxes[row][batch.source_box_mask[row]].cpu().numpy() * scale,
        caption=f"{Category(int(batch.categories[row])).name.lower()} {batch.image_ids[row][:8]}",
    )
