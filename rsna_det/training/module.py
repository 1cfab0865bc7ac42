"""The LightningModule: wires network, loss, decoding and metrics, and computes nothing itself."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import Optimizer

from rsna_det.boxes.anchors import pyramid_anchors
from rsna_det.boxes.decoding import DecodingSettings, batch_detections, candidates
from rsna_det.boxes.host import to_host
from rsna_det.models.cost import feature_sizes
from rsna_det.structures import Batch, Candidates, Detections, HeadOutputs, Losses
from rsna_det.training.data import FinishesBatches, training_data
from rsna_det.training.epoch_table import STEP_LOSS, EpochTable
from rsna_det.training.losses import LOSS_NAMES, MultiTaskLoss, batch_losses
from rsna_det.training.targets import TargetMaker
from rsna_det.training.validation import ValidationMetrics, ValidationOutput

LOGGED = (
    *(f"{part}/{name}" for part in ("train", "val") for name in (*LOSS_NAMES, "loss")),
    *(f"val/{name}" for name in ("map", "map_best", "cut_best", "global_accuracy", "global_auc")),
    "learning_rate",
)
"""Names of an epoch's values, which callbacks may wait for."""

_IN_PROGRESS_BAR = {"loss", "map", "map_best"}


class DetectorModule(LightningModule):
    """Training and validation of a detector.

    Logged for ``train`` and ``val``: ``box_class``, ``box_regression``, ``global_class`` and their weighted sum
    ``loss``, as means over images. For ``val`` also the challenge's ``map`` at the configured cut, ``map_best`` and
    ``cut_best`` over the grid of cuts, and the global head's ``global_accuracy`` and ``global_auc`` (Lung Opacity
    against the rest).

    Args:
        model: images -> head outputs; ``model.levels`` are the numbers of its pyramid levels.
        loss: weights of the losses.
        optimizer: a partial that takes the parameters.
        scheduler: a partial of a function of :mod:`rsna_det.training.schedules`.
        decoding: from scored anchors to detections; ``cut`` is that of ``val/map``, ``cut_grid`` of ``val/map_best``.
        description: plain containers that the model is rebuilt from, stored in every checkpoint.
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        loss: MultiTaskLoss,
        optimizer: Callable[..., Optimizer],
        scheduler: Callable[..., dict[str, Any]],
        decoding: DecodingSettings,
        description: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.loss = loss
        self.make_optimizer = optimizer
        self.make_scheduler = scheduler
        self.decoding = decoding
        self.description = dict(description or {})
        self.metrics = ValidationMetrics(cut=decoding.cut, cuts=decoding.cuts)
        self.compiled = False
        self._target_makers: dict[int, TargetMaker] = {}

    def setup(self, stage: str) -> None:  # noqa: ARG002  # Lightning's signature
        """Have the loaders' workers match anchors to boxes: the data cannot know the network's anchors."""
        data: object = self.trainer.datamodule  # type: ignore[attr-defined]
        if isinstance(data, FinishesBatches):
            data.finish_batches(self.target_maker(data.image_size))

    def target_maker(self, image_size: int) -> TargetMaker:
        """What adds targets to batches of images of this size, network pixels."""
        if image_size not in self._target_makers:
            self._target_makers[image_size] = TargetMaker(
                image_size=image_size,
                feature_sizes=feature_sizes(self.model, image_size=image_size),
                levels=tuple(self.model.levels),  # type: ignore[arg-type]
            )
        return self._target_makers[image_size]

    def forward(self, images: Tensor) -> HeadOutputs:
        """Head outputs of a batch of network images."""
        outputs: HeadOutputs = self.model(images)
        return outputs

    def anchors(self, outputs: HeadOutputs, image_size: int) -> Float[Tensor, "anchors 4"]:
        """The anchors of the outputs, network pixels."""
        return pyramid_anchors(
            image_size=image_size,
            feature_sizes=outputs.feature_sizes,
            levels=self.model.levels,  # type: ignore[arg-type]
            device=outputs.box_logits.device,
        )

    def detections_before_cut(self, candidates: Candidates) -> list[Detections]:
        """The detections of each image after NMS and the relative cut, source pixels."""
        return batch_detections(
            candidates, nms_iou=self.decoding.nms_iou, relative_cut=self.decoding.relative_cut, cut=0.0
        )

    def losses(self, batch: Batch, outputs: HeadOutputs) -> Losses:
        """The unweighted losses of each image; anchors are matched here if no loader has done so."""
        targets = batch.targets
        if targets is None:
            maker = self.target_maker(batch.images.shape[-1])
            made = maker.matched(boxes=batch.boxes, box_mask=batch.box_mask)
            targets = made.to(outputs.box_logits.device, non_blocking=True)
        return batch_losses(outputs=outputs, targets=targets, categories=batch.categories)

    def on_train_epoch_start(self) -> None:
        """Log the learning rate at the start of the epoch."""
        rate = self.trainer.optimizers[0].param_groups[0]["lr"]
        self.log("learning_rate", torch.tensor(rate, dtype=torch.float64))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:  # noqa: ARG002  # Lightning's signature
        """The loss to minimise."""
        losses = self.losses(batch, self(batch.images))
        total = self.loss(losses)
        named = {f"train/{name}": getattr(losses, name).mean().detach() for name in LOSS_NAMES}
        named["train/loss"] = total.detach()
        self.log_dict(named, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(batch))
        # Not for Lightning's bar, which would read it from the device after every step.
        steps_logged = any(not isinstance(logger, EpochTable) for logger in self.loggers)
        self.log(STEP_LOSS, total.detach(), on_step=True, on_epoch=False, logger=steps_logged, batch_size=len(batch))
        return total

    def on_train_batch_end(self, *_: Any) -> None:
        """Have the model of the run's last step validated, though it may be within an epoch."""
        if 0 < self.trainer.max_steps <= self.trainer.global_step:
            self.trainer.should_stop = True

    def validation_step(  # type: ignore[override]
        self,
        batch: Batch,
        batch_idx: int,  # noqa: ARG002
    ) -> ValidationOutput:
        """Add a batch to the metrics, and hand its candidates to the callbacks."""
        outputs = self(batch.images)
        losses = self.losses(batch, outputs)
        self.metrics.update_losses(losses, total=self.loss(losses))
        kept = candidates(
            outputs=outputs,
            anchors=self.anchors(outputs, batch.images.shape[-1]),
            image_size=batch.images.shape[-1],
            source_sizes=batch.source_sizes,
            score_floor=self.decoding.score_floor,
            max_candidates=self.decoding.max_candidates,
        )
        self.metrics.update_outputs(outputs, kept.boxes)
        truths = [b[m] for b, m in zip(batch.source_boxes, batch.source_box_mask, strict=True)]
        self.metrics.update_map(self.detections_before_cut(kept), truths)
        if outputs.global_logits is None:
            return ValidationOutput(candidates=kept, probabilities=None)
        probabilities = outputs.global_logits.float().softmax(dim=1)
        self.metrics.update_categories(probabilities, batch.categories)
        return ValidationOutput(candidates=kept, probabilities=to_host(probabilities)[0])

    def on_validation_epoch_end(self) -> None:
        """Log the means and scores over all validation images of all devices."""
        for name, value in self.metrics.compute().items():
            self.log(f"val/{name}", value, prog_bar=name in _IN_PROGRESS_BAR)
        self.metrics.reset()

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Give the optimizer its parameters, and its schedule the length of the run."""
        optimizer = self.make_optimizer(self.parameters())
        batches = _batches_per_epoch(self.trainer)
        schedule: Any = self.make_scheduler(
            optimizer, batches_per_epoch=batches, total_steps=_optimizer_steps(self.trainer, batches=batches)
        )
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the model's description, so that a checkpoint can be used on its own."""
        checkpoint["rsna_det"] = self.description


def _optimizer_steps(trainer: Trainer, *, batches: int) -> int:
    """Of the whole run, which ends at ``max_epochs`` or ``max_steps``, whichever comes first."""
    steps = math.ceil(batches / trainer.accumulate_grad_batches) * (trainer.max_epochs or 1)
    return min(steps, trainer.max_steps) if trainer.max_steps > 0 else steps


def _batches_per_epoch(trainer: Trainer) -> int:
    """Training batches of an epoch on this device.

    Lightning's own estimate would start the loader's workers at once, and a resumed run would repeat the order and
    augmentation of the first epoch.
    """
    batches = len(training_data(trainer).train_dataloader())
    limit = trainer.limit_train_batches
    if limit is not None:
        batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
    return max(1, batches)
