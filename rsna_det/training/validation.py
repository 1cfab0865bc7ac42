"""Means and scores over the validation images of all devices."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric, SumMetric
from torchmetrics.classification import BinaryAUROC, MulticlassAccuracy

from rsna_det.evaluation.metric import ChallengeMAP
from rsna_det.structures import Candidates, Category, Detections, HeadOutputs, Losses
from rsna_det.training.losses import LOSS_NAMES


@dataclass(frozen=True, kw_only=True)
class ValidationOutput:
    """What the callbacks get of a validation batch.

    Attributes:
        candidates: before NMS, source pixels.
        probabilities: of the three categories; None without the global head.
    """

    candidates: Candidates
    probabilities: Float[Tensor, "batch 3"] | None


class ValidationMetrics(nn.Module):
    """Losses, the challenge's score and the global head's accuracy and ROC-AUC, without Lightning.

    Args:
        cut: score threshold of ``map``.
        cuts: score thresholds among which ``map_best`` is the highest.
    """

    def __init__(self, *, cut: float, cuts: Sequence[float]) -> None:
        super().__init__()
        self.cuts = [cut, *cuts]
        self.map = ChallengeMAP(cuts=self.cuts)
        # What the metrics would check, the host would wait for.
        self.losses = nn.ModuleDict({name: MeanMetric(nan_strategy="disable") for name in (*LOSS_NAMES, "loss")})
        self.accuracy = MulticlassAccuracy(num_classes=len(Category), average="micro", validate_args=False)
        self.auc = BinaryAUROC(validate_args=False)
        self.opacity_share = MeanMetric(nan_strategy="disable")
        self.not_finite = SumMetric(nan_strategy="disable")

    def update_outputs(self, outputs: HeadOutputs, boxes: Float[Tensor, "batch boxes 4"]) -> None:
        """Count the images for which the network's outputs, or the boxes made of them, hold NaN or infinity."""
        self.not_finite.update((~outputs.finite_images(boxes)).sum())

    def update_losses(self, losses: Losses, *, total: Float[Tensor, ""]) -> None:
        """Count a batch's losses.

        Args:
            losses: of each image.
            total: their weighted sum, averaged over the batch.
        """
        # One value per image: without its check for NaN, torchmetrics' mean ignores weights.
        values = {name: getattr(losses, name) for name in LOSS_NAMES} | {"loss": total.expand(len(losses.box_class))}
        for name, value in values.items():
            self.losses[name].update(value)  # type: ignore[operator]

    def update_map(self, detections: Sequence[Detections], truths: Sequence[Float[Tensor, "_ 4"]]) -> None:
        """Count a batch's detections before the cut; arguments as of :meth:`ChallengeMAP.update`."""
        self.map.update(detections, truths)

    def update_categories(self, probabilities: Float[Tensor, "batch 3"], categories: Int[Tensor, " batch"]) -> None:
        """Count a batch's predicted categories."""
        is_opacity = categories == Category.OPACITY
        self.accuracy.update(probabilities, categories)
        self.auc.update(probabilities[:, Category.OPACITY], is_opacity.long())
        self.opacity_share.update(is_opacity.float())

    def compute(self) -> dict[str, Tensor]:
        """The values by name; those of the global head only if :meth:`update_categories` was called.

        The scores are NaN if any output was not finite: NaN is above no threshold, and "no boxes" would score 0.
        """
        values = {name: metric.compute() for name, metric in self.losses.items()}  # type: ignore[operator]
        scores = self.map.compute().cpu()
        best = int(scores[1:].nan_to_num(-1).argmax()) + 1
        values |= {"map": scores[0], "map_best": scores[best]}
        values["cut_best"] = torch.tensor(self.cuts[best], dtype=torch.float64)
        if self.opacity_share.update_called:
            values |= {"global_accuracy": self.accuracy.compute(), "global_auc": self._auc()}
        if self.images_not_finite > 0:
            values |= {name: torch.full_like(values[name], math.nan) for name in values if name not in self.losses}
        return values

    @property
    def images_not_finite(self) -> int:
        """Images, over all devices, for which the network's outputs hold NaN or infinity."""
        return int(self.not_finite.compute()) if self.not_finite.update_called else 0

    def reset(self) -> None:
        """Forget all images."""
        for metric in self.modules():
            if isinstance(metric, Metric):
                metric.reset()

    def _auc(self) -> Tensor:
        """Area under the ROC curve; NaN if all images have opacities, or none."""
        share = self.opacity_share.compute()
        if not 0 < share < 1:
            return torch.full_like(share, math.nan)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*samples in targets")
            auc: Tensor = self.auc.compute()
        return auc
