"""The challenge's metric on as many images as a large validation fold has, at one cut and at 58 at once."""

import torch

from benchmarks.measure import alternating_medians
from rsna_det.evaluation.metric import ChallengeMAP
from rsna_det.structures import Detections

IMAGES = 6000


def seconds(*, repeats: int) -> tuple[float, float]:
    """Seconds for 6,000 images at one cut, and at a grid of 58 cuts."""
    generator = torch.Generator().manual_seed(0)

    def boxes(most: int) -> torch.Tensor:
        count = int(torch.randint(0, most + 1, (1,), generator=generator))
        corners = torch.rand(count, 2, generator=generator) * 700
        return torch.cat([corners, corners + 60 + 250 * torch.rand(count, 2, generator=generator)], dim=1)

    truths = [boxes(3) for _ in range(IMAGES)]
    found = [boxes(6) for _ in range(IMAGES)]
    detections = [
        Detections(boxes=b, scores=torch.rand(len(b), generator=generator).sort(descending=True).values) for b in found
    ]

    def score(cuts: list[float]) -> torch.Tensor:
        metric = ChallengeMAP(cuts=cuts)
        metric.update(detections, truths)
        return metric.compute()

    grid = [i / 100 for i in range(3, 61)]
    one, many = alternating_medians([lambda: score([0.15]), lambda: score(grid)], repeats=repeats)
    return one, many
