"""Draws radiographs with their labels.

An image depends on ``seed``, ``side`` and its own number alone, so the first images of a large set are those of a small
one.
"""

import hashlib
import uuid
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, UInt8

from rsna_det.data.synthetic.anatomy import Anatomy, draw_chest
from rsna_det.data.synthetic.exposure import expose, stamp_side_marker
from rsna_det.data.synthetic.pathology import add_abnormality, add_device, add_opacities
from rsna_det.data.synthetic.shapes import Frame
from rsna_det.structures import Category

DRAWING_VERSION = 1
"""Raised when the same parameters draw something else, so that an older folder is not taken for a new one."""


@dataclass(frozen=True, kw_only=True)
class Radiograph:
    """One drawn radiograph with its labels; boxes are ``x1, y1, x2, y2`` in its own whole pixels."""

    image_id: str
    true_patient: str
    category: Category
    view: str
    sex: str
    age: int
    boxes: Float[np.ndarray, "boxes 4"]
    pixels: UInt8[np.ndarray, "side side"]


def draw_radiograph(*, seed: int, index: int, side: int) -> Radiograph:
    """Draw image number ``index``: the same one for the same arguments."""
    rng = np.random.default_rng([seed, 0, index])
    person = _person(seed=seed, index=index)
    person_rng = np.random.default_rng([seed, 1, person])
    anatomy = Anatomy.draw(person_rng)
    category = _category(seed=seed, index=index)
    ill = category is not Category.NORMAL
    if ill and rng.random() < (0.30 if category is Category.ABNORMAL else 0.15):
        anatomy = replace(anatomy, heart_width=anatomy.heart_width * rng.uniform(1.3, 1.55))
    chest = draw_chest(frame=Frame.draw(side=side, rng=rng), anatomy=anatomy, rng=rng)
    if category is Category.OPACITY and rng.random() < 0.35:
        chest = replace(chest, attenuation=add_device(chest=chest, rng=rng))
    boxes, attenuation = np.zeros((0, 4), np.float32), chest.attenuation
    if category is Category.OPACITY:
        attenuation, boxes = add_opacities(chest=chest, rng=rng)
    elif category is Category.ABNORMAL:
        attenuation = add_abnormality(chest=chest, rng=rng)
    pixels = expose(attenuation, rng=rng)
    stamp_side_marker(pixels, rng=rng)
    return Radiograph(
        image_id=str(uuid.UUID(bytes=digest(f"image {seed} {index}"), version=4)),
        true_patient=f"{person:08d}",
        category=category,
        view="AP" if rng.random() < (0.6 if ill else 0.3) else "PA",
        sex=str(person_rng.choice(["F", "M"])),
        age=int(np.clip(person_rng.normal(48, 17), 1, 92)),
        boxes=boxes,
        pixels=pixels,
    )


def digest(text: str) -> bytes:
    """16 bytes that depend on the text alone."""
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _category(*, seed: int, index: int) -> Category:
    """Each block of six images has every category at least once; the rest are drawn to give 28%, 40% and 32%."""
    rng = np.random.default_rng([seed, 2, index // 6])
    extra = rng.choice(3, size=3, p=[0.467, 0.307, 0.226])
    return Category(int(rng.permutation([0, 1, 2, *extra])[index % 6]))


def _person(*, seed: int, index: int) -> int:
    """The number of the person in image ``index``: in a third of cases that of the image before."""
    while index > 0 and np.random.default_rng([seed, 3, index]).random() < 0.33:
        index -= 1
    return index
