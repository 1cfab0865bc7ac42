"""The geometry of the augmentations: one projective map, one interpolation, and where the boxes go.

Coordinates are continuous: the image covers ``[0, width] x [0, height]`` and a pixel's centre lies at half
integers, so that boxes and pixels follow the same map to the last digit, flips included.
"""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Float, UInt8

BoxRule = Literal["corners", "edge_thirds"]
DrawRule = Literal["uniform", "normal"]

_CORNERS = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=np.float64)
_THIRDS = np.array([[1, 0], [2, 0], [3, 1], [3, 2], [2, 3], [1, 3], [0, 2], [0, 1]], dtype=np.float64) / 3
_TO_CENTRES = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])
_FROM_CENTRES = np.array([[1.0, 0.0, -0.5], [0.0, 1.0, -0.5], [0.0, 0.0, 1.0]])
_NO_AREA = 1e-7  # square pixels: a box without any
_BOX_POINTS = {"corners": _CORNERS, "edge_thirds": _THIRDS}


@dataclass(frozen=True, kw_only=True)
class WarpLimits:
    """How far the geometry may go; ``draws`` decides what a limit means.

    Attributes:
        draws: "uniform" draws within the limits; "normal" takes scale, rotation and shear as standard deviations.
        flip_probability: of a horizontal flip.
        scale: of each axis on its own, 1 +- scale (uniform) or a factor 2^N(0, scale) (normal).
        rotation: in degrees.
        shear: in degrees.
        perspective: shift of every corner on each axis, as a fraction of the side; always uniform.
        shift: of the whole image on each axis, as a fraction of the side; always uniform.
    """

    draws: DrawRule
    flip_probability: float
    scale: float
    rotation: float
    shear: float
    perspective: float
    shift: float

    @property
    def allow_change(self) -> bool:
        """Whether any draw can move a pixel."""
        return any((self.flip_probability, self.scale, self.rotation, self.shear, self.perspective, self.shift))


@dataclass(frozen=True, kw_only=True)
class WarpDraw:
    """One draw of the geometry: factors, degrees, and fractions of the sides."""

    flip: bool
    scale: tuple[float, float]
    rotation: float
    shear: float
    shift: tuple[float, float]
    corner_shifts: Float[np.ndarray, "4 2"]

    @property
    def is_identity(self) -> bool:
        """Whether the image stays as it is."""
        moved = (self.rotation, self.shear, *self.shift, *self.corner_shifts.flat)
        return not self.flip and self.scale == (1.0, 1.0) and not any(moved)


def draw_warp(limits: WarpLimits, generator: np.random.Generator) -> WarpDraw:
    """Draw the geometry of one image.

    Every number is drawn whatever the limits are, so that two presets with one seed differ only as their limits do.
    """
    unit = generator.uniform(-1, 1, size=4) if limits.draws == "uniform" else generator.standard_normal(4)
    position = generator.uniform(-1, 1, size=(5, 2))
    flip = bool(generator.random() < limits.flip_probability)
    stretch = 1 + limits.scale * unit[:2] if limits.draws == "uniform" else 2 ** (limits.scale * unit[:2])
    return WarpDraw(
        flip=flip,
        scale=(float(stretch[0]), float(stretch[1])),
        rotation=float(limits.rotation * unit[2]),
        shear=float(limits.shear * unit[3]),
        shift=(float(limits.shift * position[0, 0]), float(limits.shift * position[0, 1])),
        corner_shifts=limits.perspective * position[1:],
    )


def source_map(draw: WarpDraw, *, height: int, width: int) -> Float[np.ndarray, "3 3"]:
    """The homography from a point of the augmented image to the point of the source that it shows.

    The draw describes this direction, as in the published code: the augmented image is flipped, its corners are
    shifted, and it is scaled, sheared and rotated about its centre, which lies at the shifted centre of the source.
    """
    angle, slope = np.deg2rad(draw.rotation), np.tan(np.deg2rad(draw.shear))
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = rotation @ np.array([[1.0, slope], [0.0, 1.0]]) @ np.diag(draw.scale)
    sides = np.array([width, height], dtype=np.float64)
    affine = np.eye(3)
    affine[:2, :2] = linear
    affine[:2, 2] = sides / 2 + sides * draw.shift - linear @ sides / 2
    flip = np.array([[-1.0, 0.0, width], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]) if draw.flip else np.eye(3)
    return np.asarray(affine @ _corner_map(draw.corner_shifts, sides) @ flip, dtype=np.float64)


def _corner_map(shifts: Float[np.ndarray, "4 2"], sides: Float[np.ndarray, " 2"]) -> Float[np.ndarray, "3 3"]:
    if not shifts.any():
        return np.eye(3)
    corners = (_CORNERS * sides).astype(np.float32)
    shifted = ((_CORNERS + shifts) * sides).astype(np.float32)
    return np.asarray(cv2.getPerspectiveTransform(corners, shifted), dtype=np.float64)


def warp_image(
    image: UInt8[np.ndarray, "height width"], to_source: Float[np.ndarray, "3 3"], *, fill: int
) -> UInt8[np.ndarray, "height width"]:
    """Resample an image once, bilinearly; what lies outside the source is ``fill``."""
    height, width = image.shape
    # OpenCV counts from the centre of the first pixel, boxes from its corner.
    matrix = _FROM_CENTRES @ to_source @ _TO_CENTRES
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped = cv2.warpPerspective(
        image, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=fill
    )
    return np.asarray(warped, dtype=np.uint8)


def map_boxes(
    boxes: Float[np.ndarray, "boxes 4"], from_source: Float[np.ndarray, "3 3"], *, rule: BoxRule
) -> Float[np.ndarray, "boxes 4"]:
    """Boxes around the mapped points of boxes, before any clipping.

    With ``rule="corners"`` a box is drawn around its four mapped corners; with ``"edge_thirds"`` around the eight
    points at 1/3 and 2/3 of its edges (paper, section 5.1 and figure 6). The latter grows less under rotation and
    shear and is just as exact under flips, scales and shifts, since two of the points lie on every edge.
    """
    if len(boxes) == 0:
        return boxes.copy()
    mapped = map_points(box_points(boxes, rule=rule), from_source)
    return np.concatenate([mapped.min(axis=1), mapped.max(axis=1)], axis=1).astype(boxes.dtype)


def inside(
    boxes: Float[np.ndarray, "boxes 4"], *, height: int, width: int, minimum_inside: float
) -> Float[np.ndarray, "kept 4"]:
    """Boxes clipped to the image, without those that have less than a fraction of their area left in it, or none."""
    sides = np.array([width, height, width, height], dtype=np.float64)
    clipped = np.clip(boxes, 0, sides)
    before, after = _areas(boxes), _areas(clipped)
    return np.asarray(clipped[(before >= _NO_AREA) & (after > 0) & (after >= minimum_inside * (before + _NO_AREA))])


def _areas(boxes: Float[np.ndarray, "boxes 4"]) -> Float[np.ndarray, " boxes"]:
    return np.asarray((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))


def box_points(boxes: Float[np.ndarray, "boxes 4"], *, rule: BoxRule) -> Float[np.ndarray, "boxes points 2"]:
    """The points on the boxes' edges that a rule uses: four corners, or eight thirds."""
    corner, extent = boxes[:, None, :2].astype(np.float64), (boxes[:, 2:] - boxes[:, :2])[:, None].astype(np.float64)
    return np.asarray(corner + extent * _BOX_POINTS[rule], dtype=np.float64)


def map_points(
    points: Float[np.ndarray, "boxes points 2"], homography: Float[np.ndarray, "3 3"]
) -> Float[np.ndarray, "boxes points 2"]:
    """Points under a projective map."""
    homogeneous = np.concatenate([points, np.ones_like(points[..., :1])], axis=-1) @ homography.T
    return np.asarray(homogeneous[..., :2] / homogeneous[..., 2:], dtype=np.float64)
