"""Several members' outputs of one anchor -> one, number by number.

Source: paper, section 6 ("20 percentile ... reduced even more, proportionally to the difference between 80 and 20
percentiles ... with the scale of 1.6") and figure 9. Percentiles are numpy's, linearly interpolated.
"""

from collections.abc import Sequence
from math import exp, fsum, log

import numpy as np


def mean_probability(logits: Sequence[float]) -> float:
    """Mean of the members' probabilities."""
    return fsum(1 / (1 + exp(-logit)) for logit in logits) / len(logits)


def mean_logit(logits: Sequence[float]) -> float:
    """Logit of the mean probability, the probability of "no" summed apart so that neither loses its digits."""
    return log(fsum(1 / (1 + exp(-x)) for x in logits)) - log(fsum(1 / (1 + exp(x)) for x in logits))


def mean_classes(logits: Sequence[Sequence[float]]) -> list[float]:
    """Mean of the members' probabilities of each class."""
    members = []
    for row in logits:
        total = fsum(exp(value) for value in row)
        members.append([exp(value) / total for value in row])
    return [fsum(column) / len(members) for column in zip(*members, strict=True)]


def mean_deltas(deltas: Sequence[Sequence[float]]) -> list[float]:
    """Mean of dx, dy, dw and dh."""
    return [fsum(column) / len(deltas) for column in zip(*deltas, strict=True)]


def percentile_size(values: Sequence[float], *, size_scale: float) -> float:
    """One of dw and dh: p20 + (p20 - p80) * size_scale."""
    p20, p80 = (float(np.percentile(np.asarray(values, np.float64), percent)) for percent in (20, 80))
    return p20 + (p20 - p80) * size_scale
