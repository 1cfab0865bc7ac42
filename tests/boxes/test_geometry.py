"""Areas, clipping and re-scaling, with their arithmetic."""

import pytest
import torch

from rsna_det.boxes.geometry import area, clip, scale_about_centre


def test_area_is_width_times_height_and_never_negative() -> None:
    boxes = torch.tensor([[10.0, 20, 40, 60], [5, 5, 6, 6], [5, 5, 5, 9], [9, 9, 3, 3]])
    # 30 * 40, one pixel, no width, inside out on both axes (-6 * -6 must not count as 36)
    assert area(boxes).tolist() == [1200, 1, 0, 0]


def test_clip_knows_height_from_width() -> None:
    boxes = torch.tensor([[[-5.0, -5, 300, 300]], [[50, 60, 90, 400]]])
    sizes = torch.tensor([[100, 200], [300, 80]])  # height, width
    assert clip(boxes, sizes).tolist() == [[[0, 0, 200, 100]], [[50, 60, 80, 300]]]


def test_clip_of_no_boxes() -> None:
    assert clip(torch.zeros(2, 0, 4), torch.tensor([[10, 10], [20, 20]])).shape == (2, 0, 4)


def test_a_box_outside_its_image_has_no_area_left() -> None:
    clipped = clip(torch.tensor([[[210.0, 10, 250, 50]]]), torch.tensor([[100, 200]]))
    assert area(clipped).item() == 0


def test_scaling_keeps_the_centre() -> None:
    # 80 x 160 about (100, 200) at 87.5%: 70 x 140
    scaled = scale_about_centre(torch.tensor([[60.0, 120, 140, 280]]), factor=0.875)
    assert scaled.tolist() == [[65, 130, 135, 270]]


@pytest.mark.parametrize("factor", [0.0, -1.0, float("nan")])
def test_scaling_by_nothing_is_refused(factor: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        scale_about_centre(torch.zeros(1, 4), factor=factor)
