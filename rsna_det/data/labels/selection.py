"""Choosing and counting images in the frame of images."""

import pandas as pd

from rsna_det.data.labels.folds import OUTSIDE
from rsna_det.errors import InvalidValueError


def limit_images(images: pd.DataFrame, count: int) -> pd.DataFrame:
    """The first images by id of each fold and category, in proportion to their counts; none from outside the folds.

    Args:
        images: with the columns ``image_id``, ``fold`` and ``category``.
        count: how many to keep.
    """
    inside = images[images["fold"] != OUTSIDE].sort_values("image_id")
    group = inside.groupby(["fold", "category"])["image_id"]
    place = (group.cumcount() + 0.5) / group.transform("size")
    chosen = place.sort_values(kind="stable").index[:count]
    return inside.loc[chosen].sort_values("image_id", ignore_index=True)


def count_labels(images: pd.DataFrame) -> dict[str, int]:
    """Images, images with boxes ("positives"), and boxes."""
    boxes = images["boxes"].map(len)
    return {"images": len(images), "positives": int((boxes > 0).sum()), "boxes": int(boxes.sum())}


def check_used(images: pd.DataFrame, use: str) -> None:
    """Refuse a use that no image is left for.

    Raises:
        InvalidValueError: naming the use and the options that may have left nothing for it.
    """
    if images.empty:
        raise InvalidValueError(
            f"no images are left for {use}: check data.fold, data.num_folds, data.test_ids, data.folds_csv, "
            "data.limit_images and data.train_negatives"
        )
