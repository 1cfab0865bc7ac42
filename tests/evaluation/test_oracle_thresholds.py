"""Every cell of the grid against the slow metric, one image and one cell at a time."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from rsna_det.evaluation.predictions import CandidateRows
from rsna_det.evaluation.thresholds import image_scores_at_cuts, score_grid
from tests.oracles import evaluation as oracle

CUTS = [0.3, 0.05, 0.125, 0.9375]
NMS_IOUS = [0.05, 0.5, 1.0]


def rows_of(candidates: list[tuple[list[list[float]], list[float]]]) -> CandidateRows:
    counts = [len(scores) for _, scores in candidates]
    return CandidateRows(
        boxes=torch.tensor([box for boxes, _ in candidates for box in boxes]).reshape(-1, 4),
        scores=torch.tensor([score for _, scores in candidates for score in scores]),
        offsets=torch.tensor([0, *np.cumsum(counts)]),
    )


def drawn(seed: int, images: int = 14) -> tuple[list[tuple[list[list[float]], list[float]]], list[list[list[float]]]]:
    """Candidates and truths on a coarse lattice, so that IoUs meet their limits exactly and scores are often equal."""
    generator = np.random.default_rng(seed)

    def boxes(count: int) -> list[list[float]]:
        corners = generator.integers(0, 8, (count, 2)) * 4.0
        sides = generator.integers(1, 5, (count, 2)) * 4.0
        return np.concatenate([corners, corners + sides], axis=1).tolist()

    candidates, truths = [], []
    for _ in range(images):
        count = int(generator.integers(0, 9))
        scores = sorted((generator.integers(1, 16, count) / 16).tolist(), reverse=True)
        candidates.append((boxes(count), scores))
        truths.append(boxes(int(generator.choice([0, 0, 1, 2, 3]))))
    return candidates, truths


def tensors(truths: list[list[list[float]]]) -> list[torch.Tensor]:
    return [torch.tensor(boxes).reshape(-1, 4) for boxes in truths]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(("relative_cut", "factor"), [(0.5, 1.0), (0.0, 1.0), (0.5, 0.875), (1.0, 1.25)])
def test_every_cell_is_that_of_the_slow_metric(seed: int, relative_cut: float, factor: float) -> None:
    candidates, truths = drawn(seed)
    grid = score_grid(
        epochs=[(3, rows_of(candidates))],
        truths=tensors(truths),
        groups=torch.ones(1, len(truths), dtype=torch.bool),
        cuts=CUTS,
        nms_ious=NMS_IOUS,
        relative_cut=relative_cut,
        rescale_factor=factor,
    )
    assert grid.epochs == (3,)
    for i, nms_iou in enumerate(NMS_IOUS):
        for j, cut in enumerate(CUTS):
            expected = oracle.cell(
                candidates=candidates,
                truths=truths,
                nms_iou=nms_iou,
                relative_cut=relative_cut,
                cut=cut,
                factor=Fraction(factor),
            )
            assert grid.scores[0, 0, i, j].item() == pytest.approx(float(expected), abs=1e-12)


def test_epochs_and_groups_have_cells_of_their_own() -> None:
    epochs = {4: drawn(1)[0], 9: drawn(2)[0]}
    truths = drawn(1)[1]
    groups = torch.tensor([[i % 3 == k for i in range(len(truths))] for k in range(3)])
    grid = score_grid(
        epochs=((number, rows_of(candidates)) for number, candidates in epochs.items()),
        truths=tensors(truths),
        groups=groups,
        cuts=CUTS,
        nms_ious=NMS_IOUS,
        relative_cut=0.5,
        rescale_factor=1.0,
    )
    assert grid.epochs == (4, 9)
    for k, group in enumerate(groups.tolist()):
        for e, candidates in enumerate(epochs.values()):
            own = [i for i, belongs in enumerate(group) if belongs]
            expected = oracle.cell(
                candidates=[candidates[i] for i in own],
                truths=[truths[i] for i in own],
                nms_iou=0.5,
                relative_cut=0.5,
                cut=0.125,
            )
            assert grid.scores[k, e, 1, 2].item() == pytest.approx(float(expected), abs=1e-12)


def test_each_image_counts_or_not_as_the_challenge_has_it() -> None:
    square = [0.0, 0.0, 10.0, 10.0]
    candidates = [([square], [0.5]), ([], []), ([square], [0.5]), ([], []), ([square], [0.5])]
    truths = [[square], [square], [], [], [[20.0, 20.0, 30.0, 30.0]]]
    scores = image_scores_at_cuts(
        rows=rows_of(candidates), truths=tensors(truths), cuts=[0.4, 0.5], nms_iou=0.05, relative_cut=0.5,
        rescale_factor=1.0,
    )  # fmt: skip
    # At 0.4: a hit; a miss; a false alarm; nothing to find and nothing found; a miss and a false alarm.
    assert scores[:, 0].nan_to_num(-1).tolist() == [1, 0, 0, -1, 0]
    # A score of exactly the cut is not above it.
    assert scores[:, 1].nan_to_num(-1).tolist() == [0, 0, -1, -1, 0]


def test_a_group_in_which_no_image_counts_has_no_score() -> None:
    grid = score_grid(
        epochs=[(0, rows_of([([], []), ([], [])]))],
        truths=tensors([[], []]),
        groups=torch.tensor([[True, True], [False, False]]),
        cuts=[0.1],
        nms_ious=[0.05],
        relative_cut=0.5,
        rescale_factor=1.0,
    )
    assert grid.counts.flatten().tolist() == [0, 0]
    assert grid.scores.isnan().all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": []}, "one epoch or more"),
        ({"cuts": []}, "expected cuts and NMS IoUs"),
        ({"nms_ious": []}, "expected cuts and NMS IoUs"),
        ({"truths": []}, "candidates of each of 0 images, got those of 2"),
    ],
)
def test_what_cannot_be_scored_is_refused(change: dict[str, list[object]], message: str) -> None:
    arguments = {
        "epochs": [(0, rows_of([([], []), ([], [])]))],
        "truths": tensors([[], []]),
        "groups": torch.ones(1, 2, dtype=torch.bool),
        "cuts": [0.1],
        "nms_ious": [0.05],
        "relative_cut": 0.5,
        "rescale_factor": 1.0,
    }
    with pytest.raises(ValueError, match=message):
        score_grid(**(arguments | change))
