"""The best anchor of a box, against the IoU with every anchor."""

import pytest
import torch
from torchvision.ops import box_iou

from rsna_det.boxes.anchors import pyramid_anchors
from rsna_det.boxes.reach import best_anchor_ious


def random_boxes(count: int, side: int) -> torch.Tensor:
    """Of all sizes, some beyond the border."""
    generator = torch.Generator().manual_seed(side)
    corners = side * (1.4 * torch.rand(count, 2, generator=generator) - 0.2)
    sizes = side * torch.rand(count, 2, generator=generator) ** 2
    return torch.cat([corners, corners + sizes], dim=1)


@pytest.mark.parametrize(
    ("side", "levels", "sizes"),
    [
        (64, (2, 3, 4, 5, 6, 7), (16, 8, 4, 2, 1, 1)),
        (128, (3, 4, 5, 6, 7), (16, 8, 4, 2, 1)),
        (96, (3, 4, 5), (12, 6, 3)),
        (129, (2, 3), (31, 15)),  # unpadded convolutions
    ],
)
def test_no_anchor_anywhere_is_better(side: int, levels: tuple[int, ...], sizes: tuple[int, ...]) -> None:
    boxes = random_boxes(400, side)
    maps = [(size, size) for size in sizes]
    found = best_anchor_ious(boxes=boxes, image_size=side, feature_sizes=maps, levels=levels)
    anchors = pyramid_anchors(image_size=side, feature_sizes=maps, levels=levels)
    torch.testing.assert_close(found, box_iou(boxes, anchors).amax(dim=1), rtol=0, atol=1e-6)


def test_an_anchor_reaches_itself_and_nothing_reaches_a_point() -> None:
    maps = [(2, 3)]
    anchors = pyramid_anchors(image_size=24, feature_sizes=maps, levels=[3])
    boxes = torch.cat([anchors, torch.tensor([[5.0, 5, 5, 5]])])
    found = best_anchor_ious(boxes=boxes, image_size=24, feature_sizes=maps, levels=[3])
    torch.testing.assert_close(found, torch.tensor([1.0] * len(anchors) + [0.0]))
    assert best_anchor_ious(boxes=boxes[:0], image_size=24, feature_sizes=maps, levels=[3]).shape == (0,)
