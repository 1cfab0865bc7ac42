"""The challenge's mean average precision: a pure function, and a thin torchmetrics Metric over it.

Definition (paper, section 3, and the challenge's evaluation page): at each IoU threshold t of 0.40, 0.45, ..., 0.75 a
prediction hits if its IoU with a true box that no prediction of higher score has taken is greater than t. An image
scores the mean over t of TP / (TP + FP + FN); the result is the mean over images. An image with neither true boxes nor
predictions does not count; one without true boxes but with predictions scores 0.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torchmetrics import Metric
from torchvision.ops import box_iou

from rsna_det.structures import Detections

IOU_THRESHOLDS = (0.40, 0.45, 0.50, 0.55, 0.60, 0.65, 0.70, 0.75)


def hits(
    *,
    boxes: Float[Tensor, "images predictions 4"],
    mask: Bool[Tensor, "images predictions"],
    truths: Float[Tensor, "images truths 4"],
    truth_mask: Bool[Tensor, "images truths"],
) -> Bool[Tensor, "images predictions thresholds"]:
    """Which predictions hit, at each threshold.

    A prediction takes the free true box of highest IoU, the first in a tie. Predictions of lower score never change
    what it hits, so the hits at a cut are a prefix of these.

    Args:
        boxes: predictions by descending score, source pixels.
        mask: False where a prediction is padding.
        truths: true boxes, source pixels.
        truth_mask: False where a true box is padding.
    """
    thresholds = torch.tensor(IOU_THRESHOLDS, dtype=torch.float64, device=boxes.device)
    images, predictions = mask.shape
    hit = torch.zeros(images, predictions, len(thresholds), dtype=torch.bool, device=boxes.device)
    if truths.shape[1] == 0:
        return hit
    iou = box_iou(boxes.double(), truths.double()).nan_to_num(0)
    iou = iou.masked_fill(~(mask[:, :, None] & truth_mask[:, None, :]), 0)
    free = torch.ones(images, len(thresholds), truths.shape[1], dtype=torch.bool, device=boxes.device)
    for rank in range(predictions):
        best_iou, best = (iou[:, rank, None, :] * free).max(dim=2)
        hit[:, rank] = best_iou > thresholds
        free.scatter_(2, best[..., None], free.gather(2, best[..., None]) & ~hit[:, rank, :, None])
    return hit


def image_scores(
    *,
    hits: Bool[Tensor, "images predictions thresholds"],
    num_predictions: Int[Tensor, " images"],
    num_truths: Int[Tensor, " images"],
) -> Float64[Tensor, " images"]:
    """Each image's average precision; NaN if it has neither a true box nor a prediction.

    Args:
        hits: of the image's predictions by descending score.
        num_predictions: number of predictions of each image that count, from the first on.
        num_truths: true boxes of each image.
    """
    counts = torch.arange(hits.shape[1], device=hits.device) < num_predictions[:, None]
    true_positives = (hits & counts[..., None]).sum(dim=1)
    return _mean_precision(true_positives, num_predictions, num_truths)


def scores_at_cuts(
    *,
    hits: Bool[Tensor, "images predictions thresholds"],
    scores: Float[Tensor, "images predictions"],
    num_truths: Int[Tensor, " images"],
    cuts: Float64[Tensor, " cuts"],
) -> Float64[Tensor, "images cuts"]:
    """Each image's average precision at every cut at once; NaN as in :func:`image_scores`.

    Args:
        hits: of the image's predictions by descending score.
        scores: of the predictions; 0 where padded.
        num_truths: true boxes of each image.
        cuts: a prediction counts if its score is above; 0 or more.
    """
    num_predictions = (scores.double()[:, None, :] > cuts[:, None]).sum(dim=2)
    running = torch.nn.functional.pad(hits.long().cumsum(dim=1), (0, 0, 1, 0))
    true_positives = running.gather(1, num_predictions[..., None].expand(-1, -1, hits.shape[2]))
    return _mean_precision(true_positives, num_predictions, num_truths[:, None].expand_as(num_predictions))


def hits_of_lists(
    *, detections: Sequence[Detections], truths: Sequence[Float[Tensor, "_ 4"]]
) -> tuple[Bool[Tensor, "images predictions thresholds"], Float[Tensor, "images predictions"]]:
    """The hits and scores of each image's detections, padded to the longest list with False and 0.

    Args:
        detections: of each image by descending score, source pixels.
        truths: true boxes of each image, source pixels.

    Raises:
        ValueError: if the numbers of truths and of detections differ.
    """
    if len(detections) != len(truths):
        raise ValueError(f"expected the truths of {len(detections)} images, got those of {len(truths)}")
    if not detections:
        return torch.zeros(0, 0, len(IOU_THRESHOLDS), dtype=torch.bool), torch.zeros(0, 0)
    boxes = pad_sequence([d.boxes.cpu() for d in detections], batch_first=True)
    scores = pad_sequence([d.scores.cpu() for d in detections], batch_first=True)
    padded_truths = pad_sequence([t.cpu() for t in truths], batch_first=True)
    hit = hits(
        boxes=boxes,
        mask=_mask([len(d.scores) for d in detections], boxes.shape[1]),
        truths=padded_truths,
        truth_mask=_mask([len(t) for t in truths], padded_truths.shape[1]),
    )
    return hit, scores


def scores_of_lists(
    *, detections: Sequence[Detections], truths: Sequence[Float[Tensor, "_ 4"]], cuts: Sequence[float]
) -> Float64[Tensor, "images cuts"]:
    """Each image's average precision at every cut; arguments and errors as :func:`hits_of_lists`."""
    hit, scores = hits_of_lists(detections=detections, truths=truths)
    num_truths = torch.tensor([len(t) for t in truths], dtype=torch.long)
    limits = torch.tensor(cuts, dtype=torch.float64)
    return scores_at_cuts(hits=hit, scores=scores, num_truths=num_truths, cuts=limits)


def challenge_map(*, detections: Sequence[Detections], truths: Sequence[Float[Tensor, "_ 4"]]) -> float:
    """The challenge's score of a set of images; NaN if no image counts.

    Args:
        detections: final boxes of each image by descending score, source pixels.
        truths: true boxes of each image, source pixels.

    Raises:
        ValueError: if the numbers of truths and of detections differ.
    """
    if not detections:
        return float("nan")
    scores = scores_of_lists(detections=detections, truths=truths, cuts=[0.0])
    return float(scores.nanmean())


class ChallengeMAP(Metric):
    """The challenge's score over all images seen, at each of several cuts.

    Args:
        cuts: score thresholds, each 0 or more.

    Raises:
        ValueError: if there is no cut, or a negative one.
    """

    full_state_update = False
    higher_is_better = True
    score_sums: Tensor
    image_counts: Tensor

    def __init__(self, *, cuts: Sequence[float]) -> None:
        super().__init__()
        if not cuts or min(cuts) < 0:
            raise ValueError(f"expected one or more cuts of 0 or more, got {list(cuts)}")
        self.cuts = tuple(cuts)
        self.add_state("score_sums", torch.zeros(len(cuts), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("image_counts", torch.zeros(len(cuts), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, detections: Sequence[Detections], truths: Sequence[Float[Tensor, "_ 4"]]) -> None:
        """Add images.

        Args:
            detections: of each image after NMS and before the cut, by descending score, source pixels.
            truths: true boxes of each image, source pixels.
        """
        if not detections:
            return
        scores = scores_of_lists(detections=detections, truths=truths, cuts=self.cuts)
        device = self.score_sums.device
        self.score_sums += scores.nansum(dim=0).to(device, non_blocking=True)
        self.image_counts += (~scores.isnan()).sum(dim=0).to(device, non_blocking=True)

    def compute(self) -> Float64[Tensor, " cuts"]:
        """The score at each cut; NaN if no image counts."""
        return self.score_sums / self.image_counts


def _mask(lengths: Sequence[int], longest: int) -> Bool[Tensor, "lists longest"]:
    return torch.arange(longest) < torch.tensor(lengths)[:, None]


def _mean_precision(
    true_positives: Int[Tensor, "*images thresholds"],
    num_predictions: Int[Tensor, " *images"],
    num_truths: Int[Tensor, " *images"],
) -> Float64[Tensor, " *images"]:
    """Mean over thresholds of TP / (TP + FP + FN), where TP + FP + FN = predictions + truths - TP."""
    total = (num_predictions + num_truths)[..., None] - true_positives
    return (true_positives.double() / total).mean(dim=-1)
