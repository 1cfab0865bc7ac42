import numpy as np
import pandas as pd
import pytest
import torch
from jaxtyping import UInt8

from rsna_det.data.cache.pixels import DicomSource
from rsna_det.data.dataset import RadiographDataset, collate
from rsna_det.structures import Category
from tests.data.augmentation.presets import preset


class DrawnSource(DicomSource):
    """Squares of 64 px without files, read-only as a cache lends them."""

    def __init__(self) -> None:
        super().__init__(paths={}, side=64)

    def read(self, image_id: str) -> UInt8[np.ndarray, "side side"]:
        pixels = np.random.default_rng(ord(image_id)).integers(0, 256, (64, 64), dtype=np.uint8)
        pixels.flags.writeable = False
        return pixels


def frame() -> pd.DataFrame:
    boxes = [
        np.array([[20, 10, 120, 60], [150, 50, 200, 100]], np.float32),
        np.zeros((0, 4), np.float32),
        np.array([[0, 0, 1, 1]], np.float32),
    ]
    return pd.DataFrame(
        {
            "image_id": ["a", "b", "c"],
            "category": [2, 1, 2],
            "boxes": pd.Series(boxes, dtype=object),
            "true_patient": ["p1", "p2", "p1"],
            "fold": [0, 1, -1],
            "width": [200, 64, 64],
            "height": [100, 64, 128],
        }
    )


def dataset(augmentation: str | None = None, images: pd.DataFrame | None = None) -> RadiographDataset:
    return RadiographDataset(
        images=frame() if images is None else images,
        pixels=DrawnSource(),
        image_size=64,
        augmentation=None if augmentation is None else preset(augmentation),
    )


def test_boxes_come_in_network_and_in_source_pixels() -> None:
    sample = dataset()[0, 0]
    # 200 x 100 px into 64: 64 / 200 = 0.32 on both axes, without stretching.
    np.testing.assert_allclose(sample.boxes, [[6.4, 3.2, 38.4, 19.2], [48.0, 16.0, 64.0, 32.0]], rtol=1e-6)
    np.testing.assert_array_equal(sample.source_boxes, [[20, 10, 120, 60], [150, 50, 200, 100]])
    assert sample.source_size == (100, 200)
    assert (sample.image_id, sample.category, sample.fold, sample.true_patient) == ("a", Category.OPACITY, 0, "p1")
    np.testing.assert_array_equal(sample.image[0], DrawnSource().read("a"))


def test_images_without_boxes_and_with_a_one_pixel_box() -> None:
    assert dataset()[1, 0].boxes.shape == (0, 4)
    assert dataset()[1, 0].category is Category.NORMAL
    np.testing.assert_array_equal(dataset()[2, 0].boxes, [[0, 0, 0.5, 0.5]])  # 128 px high into 64


def test_the_seed_alone_decides_the_augmentation() -> None:
    heavy = dataset("heavy")
    first, again, other = heavy[0, 7], heavy[0, 7], heavy[0, 8]
    assert torch.equal(first.image, again.image)
    assert torch.equal(first.boxes, again.boxes)
    assert not torch.equal(first.image, other.image)
    assert torch.equal(first.source_boxes, other.source_boxes)  # the truth to score against stays
    assert torch.equal(dataset("none")[0, 7].image, dataset()[0, 3].image)


def test_samples_own_their_memory() -> None:
    for name in (None, "none", "heavy"):
        data = dataset(name)
        sample = data[2, 0]
        sample.image.zero_()
        sample.boxes.zero_()
        sample.source_boxes.zero_()
        assert data[2, 0].image.any()
        assert data[2, 0].source_boxes.any()


def test_frames_with_any_index_are_read_by_position() -> None:
    images = frame().iloc[[2, 0]]
    assert [dataset(images=images)[index, 0].image_id for index in range(2)] == ["c", "a"]
    assert len(dataset(images=images)) == 2


def test_a_pixel_source_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"squares of 64 px, data\.image_size is 128"):
        RadiographDataset(images=frame(), pixels=DrawnSource(), image_size=128, augmentation=None)


def test_collate_pads_with_a_mask() -> None:
    batch = collate([dataset()[index, 0] for index in range(3)])
    assert batch.images.shape == (3, 1, 64, 64)
    assert batch.boxes.shape == (3, 2, 4)
    assert batch.box_mask.tolist() == [[True, True], [False, False], [True, False]]
    assert not batch.boxes[~batch.box_mask].any()
    assert batch.source_box_mask.tolist() == batch.box_mask.tolist()
    assert batch.categories.tolist() == [2, 1, 2]
    assert batch.source_sizes.tolist() == [[100, 200], [64, 64], [128, 64]]
    assert batch.image_ids == ("a", "b", "c")
    assert batch.folds == (0, 1, -1)
    assert batch.true_patients == ("p1", "p2", "p1")


def test_collate_keeps_a_batch_without_any_box() -> None:
    batch = collate([dataset()[1, 0]])
    assert batch.boxes.shape == (1, 0, 4)
    assert batch.box_mask.shape == (1, 0)
