"""The LightningModule: wires network, loss, decoding and metrics. No arithmetic of its own."""

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import MeanMetric
from torchmetrics.classification import BinaryAUROC, MulticlassAccuracy

from rsna_det.boxes.anchors import pyramid_anchors
from rsna_det.boxes.decoding import DecodingSettings, batch_detections, candidates
from rsna_det.boxes.matching import match_anchors
from rsna_det.evaluation.metric import ChallengeMAP
from rsna_det.structures import Batch, Candidates, Category, Detections, HeadOutputs, Losses
from rsna_det.training.losses import MultiTaskLoss, image_losses

LOSS_NAMES = ("box_class", "box_regression", "global_class")


@dataclass(frozen=True, kw_only=True)
class ValidationOutput:
    """What the callbacks get of a validation batch.

    Attributes:
        candidates: before NMS, source pixels.
        probabilities: of the three categories; None for a model without the global head.
    """

    candidates: Candidates
    probabilities: Float[Tensor, "batch 3"] | None


class DetectorModule(LightningModule):
    """Training and validation of a detector.

    Logged for ``train`` and ``val``: ``box_class``, ``box_regression``, ``global_class`` and their weighted sum
    ``loss``, as means over images; for ``val`` also the challenge's ``map`` at the configured cut, ``map_best`` and
    ``cut_best`` over the grid, and of the global head ``global_accuracy`` and ``global_auc`` (Lung Opacity against the
    rest).

    Args:
        model: images to head outputs; ``model.levels`` names its pyramid levels.
        loss: weights of the losses.
        optimizer: a partial that takes the parameters.
        scheduler: a partial of a function of :mod:`rsna_det.training.schedules`.
        decoding: from scored anchors to detections; ``cut`` is that of ``val/map``, ``cut_grid`` of ``val/map_best``.
        description: plain containers that rebuild the model, kept in every checkpoint.
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
        self.cuts = [decoding.cut, *decoding.cuts]
        self.val_map = ChallengeMAP(cuts=self.cuts)
        self.val_losses = nn.ModuleDict({name: MeanMetric(nan_strategy="disable") for name in (*LOSS_NAMES, "loss")})
        self.val_accuracy = MulticlassAccuracy(num_classes=len(Category), average="micro")
        self.val_auc = BinaryAUROC()
        self.val_opacity_share = MeanMetric()

    def forward(self, images: Tensor) -> HeadOutputs:
        """Head outputs of a batch of network images."""
        outputs: HeadOutputs = self.model(images)
        return outputs

    def anchors(self, outputs: HeadOutputs, image_size: int) -> Float[Tensor, "anchors 4"]:
        """The anchors that the outputs speak of, network pixels."""
        return pyramid_anchors(
            image_size=image_size,
            feature_sizes=outputs.feature_sizes,
            levels=self.model.levels,  # type: ignore[arg-type]
            device=outputs.box_deltas.device,
        )

    def detections_before_cut(self, found: Candidates) -> list[Detections]:
        """The detections of each image after NMS and the relative cut, source pixels."""
        return batch_detections(found, nms_iou=self.decoding.nms_iou, relative_cut=self.decoding.relative_cut, cut=0.0)

    def losses(self, batch: Batch, outputs: HeadOutputs) -> Losses:
        """The unweighted losses of each image."""
        anchors = self.anchors(outputs, batch.images.shape[-1])
        targets = match_anchors(anchors=anchors, boxes=batch.boxes, box_mask=batch.box_mask)
        return image_losses(
            outputs=outputs, targets=targets, anchors=anchors, boxes=batch.boxes, categories=batch.categories
        )

    def on_train_epoch_start(self) -> None:
        """Log the rate that the epoch starts with."""
        rate = self.trainer.optimizers[0].param_groups[0]["lr"]
        self.log("learning_rate", torch.tensor(rate, dtype=torch.float64))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:  # noqa: ARG002  # Lightning's signature
        """The loss to minimise."""
        losses = self.losses(batch, self(batch.images))
        total = self.loss(losses)
        named = {f"train/{name}": getattr(losses, name).mean().detach() for name in LOSS_NAMES}
        named["train/loss"] = total.detach()
        self.log_dict(named, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(batch))
        self.log("step_loss", total.detach(), on_step=True, on_epoch=False, prog_bar=True, batch_size=len(batch))
        return total

    def validation_step(  # type: ignore[override]
        self,
        batch: Batch,
        batch_idx: int,  # noqa: ARG002
    ) -> ValidationOutput:
        """Count one batch, and hand its candidates to the callbacks."""
        outputs = self(batch.images)
        self._count_losses(self.losses(batch, outputs))
        found = candidates(
            outputs=outputs,
            anchors=self.anchors(outputs, batch.images.shape[-1]),
            image_size=batch.images.shape[-1],
            source_sizes=batch.source_sizes,
            score_floor=self.decoding.score_floor,
            max_candidates=self.decoding.max_candidates,
        )
        truths = [b[m].cpu() for b, m in zip(batch.source_boxes, batch.source_box_mask, strict=True)]
        self.val_map.update(self.detections_before_cut(found), truths)
        return ValidationOutput(
            candidates=found, probabilities=self._count_categories(outputs.global_logits, batch.categories)
        )

    def on_validation_epoch_end(self) -> None:
        """Log the means and scores over all validation images of all devices."""
        for name, metric in self.val_losses.items():
            self.log(f"val/{name}", metric.compute(), prog_bar=name == "loss")  # type: ignore[operator]
        scores = self.val_map.compute().cpu()
        best = int(scores[1:].nan_to_num(-1).argmax()) + 1
        self.log("val/map", scores[0], prog_bar=True)
        self.log("val/map_best", scores[best], prog_bar=True)
        self.log("val/cut_best", torch.tensor(self.cuts[best], dtype=torch.float64))
        if self.val_opacity_share.update_called:
            self.log("val/global_accuracy", self.val_accuracy.compute())
            self.log("val/global_auc", self._auc())
        for metric in (
            *self.val_losses.values(),
            self.val_map,
            self.val_accuracy,
            self.val_auc,
            self.val_opacity_share,
        ):
            metric.reset()  # type: ignore[operator]

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Complete the optimizer and its schedule with the parameters and the length of the run."""
        optimizer = self.make_optimizer(self.parameters())
        batches = _batches_per_epoch(self.trainer)
        steps = math.ceil(batches / self.trainer.accumulate_grad_batches)
        schedule: Any = self.make_scheduler(
            optimizer, batches_per_epoch=batches, total_steps=steps * (self.trainer.max_epochs or 1)
        )
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what rebuilds the model, so that a checkpoint stands on its own."""
        checkpoint["rsna_det"] = self.description

    def _count_losses(self, losses: Losses) -> None:
        for name in LOSS_NAMES:
            self.val_losses[name].update(getattr(losses, name))  # type: ignore[operator]
        # One value an image: without its check for NaN, torchmetrics' mean forgets weights.
        total = self.loss(losses).expand(len(losses.box_class))
        self.val_losses["loss"].update(total)  # type: ignore[operator]

    def _count_categories(
        self, logits: Float[Tensor, "batch 3"] | None, categories: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch 3"] | None:
        if logits is None:
            return None
        probabilities = logits.float().softmax(dim=1)
        is_opacity = categories == Category.OPACITY
        self.val_accuracy.update(probabilities, categories)
        self.val_auc.update(probabilities[:, Category.OPACITY], is_opacity.long())
        self.val_opacity_share.update(is_opacity.float())
        return probabilities

    def _auc(self) -> Tensor:
        """Area under the ROC curve, NaN where only one side of it is among the images."""
        share = self.val_opacity_share.compute()
        if not 0 < share < 1:
            return torch.full_like(share, math.nan)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*samples in targets")
            auc: Tensor = self.val_auc.compute()
        return auc


def _batches_per_epoch(trainer: Trainer) -> int:
    """Training batches of an epoch on this device.

    Lightning's own estimate would start the loader's workers at once, and a resumed run would then repeat the order
    and the augmentation of the first epoch.
    """
    batches = len(trainer.datamodule.train_dataloader())  # type: ignore[attr-defined]
    limit = trainer.limit_train_batches
    if limit is not None:
        batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
    return max(1, batches)
