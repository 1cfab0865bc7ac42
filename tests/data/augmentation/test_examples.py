"""Sheets of augmented radiographs."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from rsna_det.data.augmentation import examples as module
from rsna_det.data.augmentation.examples import Example, network_image, rows_with_boxes, save_examples
from rsna_det.data.labels.reading import read_labels
from rsna_det.data.layout import IMAGES_DIR
from rsna_det.errors import DataError, InvalidValueError


def painted(image: np.ndarray, boxes: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A change that shows its seed: an image of one grey value, without boxes."""
    return np.full_like(image, seed), boxes[:0]


@pytest.fixture
def images(synthetic_root: Path) -> pd.DataFrame:
    return read_labels(root=synthetic_root)


def test_a_sheet_has_a_tile_for_each_example(
    synthetic_root: Path, images: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    monkeypatch.setattr(
        module, "network_image", lambda row, **options: (read.append(row["image_id"]), network_image(row, **options))[1]
    )
    rows = [images.iloc[number] for number in (0, 1)]
    tiles = [Example(row=row, augment=painted, seed=seed, caption="") for row in rows for seed in (40, 80, 120)]
    path = save_examples(tmp_path / "sheet.png", tiles, root=synthetic_root, image_size=64, columns=3, tile=32)
    assert [file.name for file in tmp_path.iterdir()] == ["sheet.png"]
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("L"))
    assert pixels.shape[1] == 3 * 32
    # Two rows of tiles, in which the three seeds stand side by side.
    lowest = len(pixels) // 2 - 8
    assert [int(pixels[lowest, 32 * column + 16]) for column in range(3)] == [40, 80, 120]
    assert (pixels == 120).sum() >= 2 * 30 * 30
    # Each radiograph is decoded once.
    assert read == images["image_id"].iloc[:2].tolist()


def test_the_network_s_image_has_its_boxes_in_network_pixels(synthetic_root: Path, images: pd.DataFrame) -> None:
    row = rows_with_boxes(images, image_id=None, where=synthetic_root).iloc[0]
    image, boxes = network_image(row, root=synthetic_root, side=32)
    assert image.shape == (32, 32)
    # 64 source pixels to 32.
    np.testing.assert_allclose(boxes, row["boxes"] / 2)


def test_what_is_not_there_is_named(synthetic_root: Path, images: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(InvalidValueError, match="there is no image nobody in "):
        rows_with_boxes(images, image_id="nobody", where=synthetic_root)
    with pytest.raises(InvalidValueError, match="there is no image with boxes in "):
        rows_with_boxes(images[images["boxes"].map(len) == 0], image_id=None, where=synthetic_root)
    (tmp_path / IMAGES_DIR).mkdir()
    with pytest.raises(DataError, match=f"has no file of image {images['image_id'][0]}, which is labelled"):
        network_image(images.iloc[0], root=tmp_path, side=32)
