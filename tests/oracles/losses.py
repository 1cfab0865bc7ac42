"""The three losses of one image, one anchor at a time, in double precision.

Sources: focal loss from Lin et al. (the paper's reference 33) with the published code's numbers; images without boxes
count (paper, section 4.1, item 1); smooth L1 and normalisation from the published code; the category's cross-entropy
(paper, section 4.4).
"""

import math
from collections.abc import Sequence

from tests.oracles.coding import encode

ALPHA = 0.25
GAMMA = 2.0
BETA = 1.0 / 9.0


def log_sigmoid(logit: float) -> float:
    """Log of 1 / (1 + exp(-logit)) without overflow."""
    return -math.log1p(math.exp(-logit)) if logit >= 0 else logit - math.log1p(math.exp(logit))


def focal_term(*, logit: float, positive: bool) -> float:
    """-alpha_t (1 - p_t)^gamma log(p_t), where p_t is the probability given to the truth."""
    log_truth = log_sigmoid(logit if positive else -logit)
    log_other = log_sigmoid(-logit if positive else logit)
    weight = ALPHA if positive else 1 - ALPHA
    return -weight * math.exp(GAMMA * log_other) * log_truth


def box_class_loss(*, logits: Sequence[float], labels: Sequence[int]) -> float:
    """Focal loss summed over the anchors not ignored (label -1), divided by max(1, positives)."""
    total, positives = 0.0, 0
    for logit, label in zip(logits, labels, strict=True):
        if label == -1:
            continue
        total += focal_term(logit=float(logit), positive=label == 1)
        positives += label == 1
    return total / max(1, positives)


def smooth_l1(difference: float) -> float:
    """Quadratic below beta, linear beyond, with equal value and slope where they meet."""
    size = abs(difference)
    return 0.5 * size * size / BETA if size < BETA else size - 0.5 * BETA


def box_regression_loss(
    *,
    deltas: Sequence[Sequence[float]],
    labels: Sequence[int],
    box_index: Sequence[int],
    anchors: Sequence[Sequence[float]],
    boxes: Sequence[Sequence[float]],
) -> float:
    """Mean of smooth L1 over the positive anchors' four coordinates; 0 where no anchor is positive."""
    terms = []
    for predicted, label, index, anchor in zip(deltas, labels, box_index, anchors, strict=True):
        if label != 1:
            continue
        wanted = encode(box=boxes[index], anchor=anchor)
        terms += [smooth_l1(float(predicted[k]) - wanted[k]) for k in range(4)]
    return sum(terms) / len(terms) if terms else 0.0


def global_class_loss(*, logits: Sequence[float] | None, category: int) -> float:
    """Cross-entropy of the image's category; 0 for a model without the global head."""
    if logits is None:
        return 0.0
    values = [float(logit) for logit in logits]
    largest = max(values)
    return largest + math.log(sum(math.exp(value - largest) for value in values)) - values[category]
