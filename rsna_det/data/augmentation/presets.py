"""Random changes of a radiograph and its boxes (paper, section 5.1); the sets are files in ``conf/augmentation``."""

import random
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float32, UInt8

from rsna_det.data.augmentation.geometry import (
    BoxRule,
    DrawRule,
    WarpDraw,
    WarpLimits,
    draw_warp,
    inside,
    map_boxes,
    source_map,
    warp_image,
)
from rsna_det.data.augmentation.transforms import (
    Gamma,
    GaussianNoise,
    SaltAndPepperPatches,
    Transform,
    brightness,
    compose,
    gaussian_blur,
)
from rsna_det.errors import InvalidValueError

# A number outside its range is a slip (percent for a fraction, radians for degrees), or folds boxes over.
_RANGES: dict[str, tuple[float, float]] = {
    "flip_probability": (0, 1),
    "scale": (0, 0.5),
    "rotation": (0, 45),
    "shear": (0, 30),
    "perspective": (0, 0.1),
    "shift": (0, 0.5),
    "gamma": (0, 2),
    "gamma_probability": (0, 1),
    "brightness": (0, 1),
    "brightness_probability": (0, 1),
    "patch_probability": (0, 1),
    "patch_fraction": (0, 1),
    "patch_grid_min": (0, 1),
    "patch_grid_max": (0, 1),
    "blur_probability": (0, 1),
    "blur_sigma": (0, 20),
    "noise_probability": (0, 1),
    "noise_deviation": (0, 1),
    "minimum_inside": (0, 1),
    "fill": (0, 255),
}


@dataclass(kw_only=True)
class Augmentation:
    """Changes an image and its boxes at random, as a pure function of the image, the boxes and a seed.

    Geometry comes first, then gamma, brightness, salt-and-pepper patches, blur and noise. If all numbers are zero,
    nothing changes at all.

    Attributes:
        draws: "uniform" within the limits; "normal" takes scale, rotation, shear and gamma as standard deviations
            without a bound (the published code).
        boxes_by: after the geometry a box surrounds its mapped "corners", or the mapped points at 1/3 and 2/3 of its
            edges ("edge_thirds": the custom rotation of the paper's figure 6).
        flip_probability: of a horizontal flip.
        scale: limit of each axis' factor, 1 +- scale when uniform, 2^N(0, scale) when normal.
        rotation: about the centre, in degrees.
        shear: in degrees.
        perspective: how far every corner moves on each axis, as a fraction of the side.
        shift: how far the image moves on each axis, as a fraction of the side.
        gamma: the grey value's power is 2^U(-gamma, gamma) or 2^N(0, gamma).
        gamma_probability: of a change of gamma.
        brightness: limit of what is added, as a fraction of the grey range.
        brightness_probability: of a change of brightness.
        patch_probability: of salt-and-pepper patches.
        patch_fraction: of the grid's patches that become black or white.
        patch_grid_min: fewest patches on a side of the grid, as a fraction of the side in pixels.
        patch_grid_max: most patches, likewise.
        blur_probability: of a Gaussian blur.
        blur_sigma: its largest standard deviation, in pixels of the given image.
        noise_probability: of Gaussian noise.
        noise_deviation: its largest standard deviation, as a fraction of the grey range.
        minimum_inside: a box with less than this fraction of its area left inside is dropped; others are clipped.
        fill: grey value of what comes in from outside the image.

    Raises:
        InvalidValueError: a number is outside its range, or a rule is unknown.
    """

    draws: Literal["uniform", "normal"]
    boxes_by: Literal["corners", "edge_thirds"]
    flip_probability: float
    scale: float
    rotation: float
    shear: float
    perspective: float
    shift: float
    gamma: float
    gamma_probability: float
    brightness: float
    brightness_probability: float
    patch_probability: float
    patch_fraction: float
    patch_grid_min: float
    patch_grid_max: float
    blur_probability: float
    blur_sigma: float
    noise_probability: float
    noise_deviation: float
    minimum_inside: float
    fill: int
    _pipeline: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._check()
        active = self._active()
        self._pipeline = compose(active) if active else None

    def __call__(
        self, image: UInt8[np.ndarray, "height width"], boxes: Float32[np.ndarray, "boxes 4"], seed: int
    ) -> tuple[UInt8[np.ndarray, "height width"], Float32[np.ndarray, "kept 4"]]:
        """The image and its boxes after one draw.

        Args:
            image: grey values; never written to, and returned itself if nothing changes.
            boxes: in pixels of the image; may be empty.
            seed: not negative; it alone decides the draw.

        Returns:
            The image, of the same size, and the boxes that are left, clipped to it.
        """
        if self._pipeline is None and not self._limits.allow_change:
            return image, boxes
        generator = np.random.default_rng(seed)
        image, boxes = self._warped(image, boxes, draw_warp(self._limits, generator))
        if self._pipeline is None:
            return image, boxes
        # A seed given to the library would start every transform with the same stream.
        self._pipeline.set_random_state(generator, random.Random(seed))  # noqa: S311
        return self._pipeline(image=image)["image"], boxes

    def _warped(
        self, image: UInt8[np.ndarray, "height width"], boxes: Float32[np.ndarray, "boxes 4"], draw: WarpDraw
    ) -> tuple[UInt8[np.ndarray, "height width"], Float32[np.ndarray, "kept 4"]]:
        """The image and its boxes after the geometry.

        The library's own handling of boxes takes as long as all grey values: it checks, clips and converts them after
        each transform.
        """
        height, width = image.shape
        # Labels may reach over the edge. In fractions of float32, as the library has them.
        sides = np.array([width, height, width, height], dtype=np.float64)
        fractions = np.clip((boxes.astype(np.float32) / sides).astype(np.float32), 0, 1)
        kept = inside(fractions * sides, height=height, width=width, minimum_inside=0)
        if not draw.is_identity:
            to_source = source_map(draw, height=height, width=width)
            image = warp_image(image, to_source, fill=self.fill)
            kept = map_boxes(kept, np.linalg.inv(to_source), rule=self.boxes_by) if len(kept) else kept
        kept = inside(kept, height=height, width=width, minimum_inside=self.minimum_inside)
        return image, kept.astype(np.float32)

    @cached_property
    def _limits(self) -> WarpLimits:
        return self.warp_limits()

    def warp_limits(self) -> WarpLimits:
        """The limits of the geometry, for drawing only that."""
        return WarpLimits(**{entry.name: getattr(self, entry.name) for entry in fields(WarpLimits)})

    def _active(self) -> list[Transform]:
        """The changes of grey values that can happen."""
        grid = (self.patch_grid_min, self.patch_grid_max)
        grey = [
            Gamma(exponent=self.gamma, draws=self.draws, p=self.gamma_probability if self.gamma else 0.0),
            brightness(limit=self.brightness, p=self.brightness_probability if self.brightness else 0.0),
            SaltAndPepperPatches(fraction=self.patch_fraction, grid=grid, p=self.patch_probability),
            gaussian_blur(sigma=self.blur_sigma, p=self.blur_probability if self.blur_sigma else 0.0),
            GaussianNoise(deviation=self.noise_deviation, p=self.noise_probability if self.noise_deviation else 0.0),
        ]
        return [transform for transform in grey if transform.p > 0]

    def _check(self) -> None:
        for name, choices in {"draws": get_args(DrawRule), "boxes_by": get_args(BoxRule)}.items():
            if getattr(self, name) not in choices:
                expected = f"choose one of {', '.join(choices)}"
                raise InvalidValueError(f"augmentation.{name} is {getattr(self, name)!r}; {expected}")
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:  # NaN fails too
                raise InvalidValueError(f"augmentation.{name} is {value}; expected {low:g} to {high:g}")
        if not 0 < self.patch_grid_min <= self.patch_grid_max:
            raise InvalidValueError(
                f"augmentation.patch_grid_min is {self.patch_grid_min} and patch_grid_max {self.patch_grid_max}; "
                "expected 0 < patch_grid_min <= patch_grid_max"
            )
