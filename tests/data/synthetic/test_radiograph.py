"""Drawn radiographs: the same drawing for the same numbers, the challenge's categories, box sizes and people."""

from pathlib import Path

import numpy as np
import pytest

from rsna_det.data.synthetic import radiograph
from rsna_det.data.synthetic.radiograph import draw_radiograph
from rsna_det.data.synthetic.writing import write_synthetic
from rsna_det.structures import Category


def test_an_image_depends_on_seed_and_number_only(tmp_path: Path) -> None:
    write_synthetic(root=tmp_path / "two", num_images=2, side=64, seed=5)
    write_synthetic(root=tmp_path / "three", num_images=3, side=64, seed=5)
    few, more = ({p.name: p.read_bytes() for p in (tmp_path / n).glob("*/*.dcm")} for n in ("two", "three"))
    assert len(few) == 2
    assert all(more[name] == content for name, content in few.items())
    other = draw_radiograph(seed=6, index=0, side=64)
    assert f"{other.image_id}.dcm" not in more


@pytest.mark.parametrize("seed", range(20))
def test_any_six_images_have_all_categories(seed: int) -> None:
    assert {radiograph._category(seed=seed, index=index) for index in range(6)} == set(Category)


def test_shares_of_the_categories() -> None:
    # Of six images 1 + 3 * 0.226 = 1.68 are opacities (28%), 1 + 3 * 0.467 = 2.40 abnormal (40%).
    counts = np.bincount([radiograph._category(seed=0, index=index) for index in range(1200)]) / 1200
    np.testing.assert_allclose(counts, [0.40, 0.32, 0.28], atol=0.03)


def test_box_sizes_are_the_challenges() -> None:
    drawn = [draw_radiograph(seed=2, index=index, side=128) for index in range(150)]
    boxes = np.concatenate([r.boxes for r in drawn]) * 1024 / 128
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    assert 180 < np.median(width) < 260
    assert 260 < np.median(height) < 390
    assert min(width.min(), height.min()) > 40
    assert all(len(r.boxes) == 0 for r in drawn if r.category is not Category.OPACITY)
    assert all(1 <= len(r.boxes) <= 3 for r in drawn if r.category is Category.OPACITY)


def test_people_look_alike_and_strangers_do_not() -> None:
    numbers = [radiograph._person(seed=0, index=index) for index in range(300)]
    assert all(number <= index for index, number in enumerate(numbers))
    assert 0.6 < len(set(numbers)) / 300 < 0.74
