"""Boxes end up where they belong on the picture."""

import numpy as np
import torch

from rsna_det.drawing.boxes import DETECTION_COLOUR, TRUTH_COLOUR, draw_boxes, sheet
from rsna_det.structures import Detections


def test_edges_have_their_colours_and_the_rest_stays_grey() -> None:
    image = np.full((200, 160), 90, np.uint8)
    found = Detections(boxes=torch.tensor([[20.0, 100, 60, 180]]), scores=torch.tensor([0.5]))
    picture = draw_boxes(image, detections=found, truths=np.float32([[80, 10, 150, 60]]))
    assert picture.shape == (200, 160, 3)
    assert tuple(picture[180 - 1, 40]) == DETECTION_COLOUR
    assert tuple(picture[10, 100]) == TRUTH_COLOUR
    assert tuple(picture[30, 30]) == (90, 90, 90)
    assert image.max() == 90  # the radiograph itself is not drawn on


def test_nothing_to_draw_is_the_radiograph_itself() -> None:
    image = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)
    nothing = Detections(boxes=torch.zeros(0, 4), scores=torch.zeros(0))
    picture = draw_boxes(image, detections=nothing)
    assert (picture == image[..., None]).all()


def test_a_sheet_fills_its_last_row() -> None:
    pictures = [np.full((100, 80, 3), value, np.uint8) for value in (50, 100, 200)]
    grid = sheet(pictures, captions=["a", "b", "c"], columns=2, side=112)
    header = max(16, 112 // 14)
    assert grid.shape == (2 * (112 + header), 2 * 112, 3)
    assert (grid[header + 50, 40] == 50).all()
    assert (grid[-20, -20] == 0).all()
