"""Soft shapes in thorax coordinates, which anatomy and pathology are drawn with.

``u`` runs from -1 at the image's left chest wall over 0 at the midline to 1, ``v`` from 0 at the lung apices to 1 at
the bases. The same random numbers draw the same radiograph at any size, except for the grain of its noise.
"""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from jaxtyping import Float, UInt8


@dataclass(frozen=True, kw_only=True)
class Frame:
    """Where the thorax lies on the film, lengths as fractions of the image's side."""

    side: int
    centre: float
    top: float
    half_width: float
    height: float

    @classmethod
    def draw(cls, *, side: int, rng: np.random.Generator) -> "Frame":
        """A pose as a radiographer may leave it: off centre, nearer or farther, deeply inspired or not."""
        half_width = rng.uniform(0.31, 0.42)
        height = rng.uniform(0.55, 0.74) * (half_width / 0.37) ** 0.5
        return cls(
            side=side,
            centre=0.5 + rng.uniform(-0.05, 0.05),
            top=rng.uniform(0.08, 0.20),
            half_width=half_width,
            height=height,
        )

    @cached_property
    def u(self) -> Float[np.ndarray, "1 side"]:
        """Thorax coordinate of every column."""
        x = (np.arange(self.side, dtype=np.float32) + 0.5) / self.side
        return ((x - self.centre) / self.half_width)[None, :].astype(np.float32)

    @cached_property
    def v(self) -> Float[np.ndarray, "side 1"]:
        """Thorax coordinate of every row."""
        y = (np.arange(self.side, dtype=np.float32) + 0.5) / self.side
        return ((y - self.top) / self.height)[:, None].astype(np.float32)

    def pixels(self, points: Float[np.ndarray, "points 2"]) -> np.ndarray:
        """Thorax coordinates -> OpenCV's fixed-point pixels with four fractional bits."""
        x = (self.centre + points[:, 0] * self.half_width) * self.side - 0.5
        y = (self.top + points[:, 1] * self.height) * self.side - 0.5
        return np.round(np.stack([x, y], axis=1) * 16).astype(np.int32)

    def polygon(self, points: Float[np.ndarray, "points 2"], *, softness: float) -> Float[np.ndarray, "side side"]:
        """A filled outline with corners rounded; its edge is blurred over ``softness`` of the side."""
        layer = np.zeros((self.side, self.side), np.uint8)
        cv2.fillPoly(layer, [self.pixels(_rounded(points))], 255, cv2.LINE_AA, 4)
        return blur(layer.astype(np.float32) / 255, sigma=softness * self.side)

    def ellipse(self, *, u: float, v: float, a: float, b: float, edge: float) -> Float[np.ndarray, "side side"]:
        """A filled ellipse with semi-axes ``a`` and ``b`` whose brim fades over ``edge`` of its radius."""
        radius = np.sqrt(((self.u - u) / a) ** 2 + ((self.v - v) / b) ** 2)
        return smooth_step((1 - radius) / edge + 0.5)

    def line(self, layer: UInt8[np.ndarray, "side side"], points: np.ndarray, *, width: float, value: int) -> None:
        """Draw a line into ``layer``; one thinner than a pixel gets fainter instead."""
        thickness = width * self.side
        faded = int(value * min(1.0, thickness))
        cv2.polylines(
            layer,
            [self.pixels(points)],
            isClosed=False,
            color=faded,
            thickness=max(1, round(thickness)),
            lineType=cv2.LINE_AA,
            shift=4,
        )


def smooth_step(value: np.ndarray) -> np.ndarray:
    """0 below 0, 1 above 1 and smooth between."""
    value = np.clip(value, 0, 1)
    return np.asarray(value * value * (3 - 2 * value), np.float32)


def blur(layer: Float[np.ndarray, "h w"], *, sigma: float) -> Float[np.ndarray, "h w"]:
    """Gaussian blur; a wide one is done on a smaller copy, with no visible difference."""
    if sigma < 0.3:
        return layer
    factor = max(1, int(sigma / 3))
    if factor == 1:
        return np.asarray(cv2.GaussianBlur(layer, (0, 0), sigma), np.float32)
    size = (layer.shape[1], layer.shape[0])
    small = cv2.resize(layer, (size[0] // factor, size[1] // factor), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(cv2.GaussianBlur(small, (0, 0), sigma / factor), size), np.float32)


def clouds(*, side: int, rng: np.random.Generator, grids: tuple[int, ...]) -> Float[np.ndarray, "side side"]:
    """Smooth noise of about unit variance: random grids of the given sizes, coarse ones weighing most."""
    total = np.zeros((side, side), np.float32)
    weight = 0.0
    for grid in grids:
        nodes = rng.standard_normal((grid, grid)).astype(np.float32)
        share = grids[0] / grid
        total += share**0.8 * cv2.resize(nodes, (side, side), interpolation=cv2.INTER_CUBIC)
        weight += share**1.6
    return total * np.float32(1.4 / weight**0.5)


def _rounded(points: np.ndarray, *, passes: int = 3) -> np.ndarray:
    """Chaikin's corner cutting of a closed outline."""
    for _ in range(passes):
        following = np.roll(points, -1, axis=0)
        points = np.stack([0.75 * points + 0.25 * following, 0.25 * points + 0.75 * following], axis=1).reshape(-1, 2)
    return points
