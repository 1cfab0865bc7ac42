"""The changes of grey values as albumentations transforms: the one module that knows the library; uint8 in, uint8 out.

Those defined here are the ones that albumentations lacks or draws from other distributions.
"""

import os
from collections.abc import Sequence
from functools import cache
from typing import Any, TypeAlias

import cv2
import numpy as np
from jaxtyping import Float32, UInt8
from scipy.special import ndtri

from rsna_det.data.augmentation.geometry import DrawRule

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # its import would ask the package index for newer versions
import albumentations as A  # noqa: N812

Transform: TypeAlias = A.BasicTransform
Grey = UInt8[np.ndarray, "height width"]
_LEVELS = 65536


class Gamma(A.ImageOnlyTransform):  # type: ignore[misc]
    """Raise the grey value, as a fraction of the range, to a power of 2^U(-exponent, exponent) or 2^N(0, exponent)."""

    def __init__(self, *, exponent: float, draws: DrawRule, p: float) -> None:
        super().__init__(p=p)
        self.exponent = exponent
        self.draws = draws

    def get_params(self) -> dict[str, Any]:
        """Draw the power."""
        generator = self.random_generator
        unit = generator.uniform(-1, 1) if self.draws == "uniform" else generator.standard_normal()
        return {"power": float(2 ** (self.exponent * unit))}

    def apply(self, img: Grey, power: float, **_: object) -> Grey:
        """Look every grey value up."""
        table = np.rint(255 * (np.arange(256) / 255) ** power).astype(np.uint8)
        return np.asarray(cv2.LUT(img, table), dtype=np.uint8)


class GaussianNoise(A.ImageOnlyTransform):  # type: ignore[misc]
    """Add Gaussian noise whose standard deviation is drawn from U(0, deviation), in fractions of the range."""

    def __init__(self, *, deviation: float, p: float) -> None:
        super().__init__(p=p)
        self.deviation = deviation

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """Draw the noise in whole grey levels."""
        deviation = 255 * self.deviation * self.random_generator.random()
        levels = np.rint(deviation * _normal_quantiles()).astype(np.int16)
        # Looking 16 random bits up in the quantiles takes a third of the time of drawing normal numbers.
        draws = self.random_generator.integers(_LEVELS, size=params["shape"][:2], dtype=np.uint16)
        # Half the time of an index, which would first be widened to 64 bits.
        return {"noise": np.take(levels, draws)}

    def apply(self, img: Grey, noise: np.ndarray, **_: object) -> Grey:
        """Add the noise, saturating at black and white."""
        return np.asarray(cv2.add(img, noise, dtype=cv2.CV_8U), dtype=np.uint8)


@cache
def _normal_quantiles() -> Float32[np.ndarray, " levels"]:
    return np.asarray(ndtri((np.arange(_LEVELS) + 0.5) / _LEVELS), dtype=np.float32)


class SaltAndPepperPatches(A.ImageOnlyTransform):  # type: ignore[misc]
    """Make a fraction of the patches of a coarse grid black or white.

    The number of patches on a side is a fraction of the image's side in pixels, drawn from ``grid``: 0.1 to 0.2 gives
    patches of ten to five pixels.
    """

    def __init__(self, *, fraction: float, grid: tuple[float, float], p: float) -> None:
        super().__init__(p=p)
        self.fraction = fraction
        self.grid = grid

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """Draw the patches: 0 untouched, 1 pepper, 2 salt."""
        height, width = params["shape"][:2]
        share = self.random_generator.uniform(*self.grid)
        cells = (max(1, round(share * height)), max(1, round(share * width)))
        draws = self.random_generator.random(cells)
        kinds = (draws < self.fraction).astype(np.uint8) + (draws < self.fraction / 2).astype(np.uint8)
        return {"kinds": cv2.resize(kinds, (width, height), interpolation=cv2.INTER_NEAREST)}

    def apply(self, img: Grey, kinds: UInt8[np.ndarray, "height width"], **_: object) -> Grey:
        """Paint the patches."""
        painted = img.copy()
        painted[kinds == 1] = 0
        painted[kinds == 2] = 255
        return painted


def brightness(*, limit: float, p: float) -> Transform:
    """Add U(-limit, limit) of the range to every grey value."""
    return A.RandomBrightnessContrast(brightness_limit=limit, contrast_limit=0.0, p=p, strict=True)


def gaussian_blur(*, sigma: float, p: float) -> Transform:
    """Blur with a Gaussian whose standard deviation is drawn from U(0, sigma), in pixels of the given image."""
    return A.GaussianBlur(sigma_limit=(0.0, sigma), blur_limit=0, p=p, strict=True)


def compose(transforms: Sequence[Transform]) -> A.Compose:
    """The transforms in their order, on an image alone."""
    return A.Compose(list(transforms), strict=True)
