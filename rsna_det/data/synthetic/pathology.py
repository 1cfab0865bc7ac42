"""Draws pathology into a chest: pneumonia-like opacities with their boxes, and other abnormalities.

Everything is added to (or taken from) the attenuation of :class:`rsna_det.data.synthetic.anatomy.Chest`, before
exposure.
"""

from collections.abc import Callable

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from rsna_det.data.synthetic.anatomy import Chest
from rsna_det.data.synthetic.shapes import blur, clouds, smooth_step

Layer = Float[np.ndarray, "side side"]
Boxes = Float[np.ndarray, "boxes 4"]

# Sizes of the challenge's boxes as fractions of the side: median width and height, and the limits kept here.
_MEDIAN_SIZE = (220 / 1024, 330 / 1024)
_SMALLEST, _LARGEST = 60 / 1024, 500 / 1024
# An opacity counts as visible from this part of its peak density.
_VISIBLE = 0.35


def add_opacities(*, chest: Chest, rng: np.random.Generator) -> tuple[Layer, Boxes]:
    """Add one to three fuzzy-edged, cloud-like opacities to the lungs.

    Args:
        chest: the chest; it is not changed.
        rng: where all choices come from.

    Returns:
        The attenuation with opacities, and tight boxes ``x1, y1, x2, y2`` (whole pixels of this image) around what is
        visible of them: at least one.
    """
    attenuation, boxes = chest.attenuation.copy(), list[np.ndarray]()
    left_first = rng.random() < 0.45
    for number in range(int(rng.choice([1, 2, 3], p=[0.48, 0.48, 0.04]))):
        for _ in range(8):
            density, box = _opacity(chest=chest, left=left_first ^ (number == 1), rng=rng)
            if not any(_touch(box, other) for other in boxes):
                attenuation += density
                boxes.append(box)
                break
    return attenuation, np.stack(boxes).astype(np.float32)


def add_abnormality(*, chest: Chest, rng: np.random.Generator) -> Layer:
    """Add one or two abnormalities other than pneumonia; returns the new attenuation."""
    attenuation = chest.attenuation
    kinds: list[Callable[..., Layer]] = [_masses, _pneumothorax, _effusion, _device]
    for kind in rng.choice(len(kinds), size=1 + int(rng.random() < 0.25), replace=False):
        attenuation = attenuation + kinds[kind](chest=chest, rng=rng)
    return attenuation


def add_device(*, chest: Chest, rng: np.random.Generator) -> Layer:
    """Add a pacemaker or a line, which ill people may have whatever their illness; returns the new attenuation."""
    return np.asarray(chest.attenuation + _device(chest=chest, rng=rng))


def _opacity(*, chest: Chest, left: bool, rng: np.random.Generator) -> tuple[Layer, np.ndarray]:
    """Density and box of one opacity, its centre well within one lung."""
    frame, side = chest.frame, chest.frame.side
    width, height = np.clip(_MEDIAN_SIZE * np.exp(rng.normal(0, (0.30, 0.42))), 1.3 * _SMALLEST, 1.1 * _LARGEST)
    u, v = rng.uniform(0.32, 0.74) * (1 if left else -1), rng.triangular(0.15, 0.68, 0.85)
    column = (frame.u - u) * frame.half_width / (width / 2)
    row = (frame.v - v) * frame.height / (height / 2)
    ragged = clouds(side=side, rng=rng, grids=(6, 12, 24))
    inner = clouds(side=side, rng=rng, grids=(14, 28, 56))
    radius = (np.abs(column) ** 2.5 + np.abs(row) ** 2.5) ** 0.4
    # Noise frays the brim but spares the centre, so that there is an opacity at all.
    frayed = radius + 0.22 * ragged * smooth_step(radius / 0.6)
    shape = smooth_step((1.15 - frayed) / 0.75) * (0.1 + 0.9 * chest.lungs)
    box = _extent(shape >= _VISIBLE * shape.max())
    density = shape * np.clip(1 + 0.28 * inner, 0.35, 1.6) * np.float32(rng.uniform(0.15, 0.30))
    return density.astype(np.float32), box


def _extent(mask: np.ndarray) -> np.ndarray:
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


def _touch(one: np.ndarray, other: np.ndarray) -> bool:
    return bool((one[:2] < other[2:]).all() and (other[:2] < one[2:]).all())


def _masses(*, chest: Chest, rng: np.random.Generator) -> Layer:
    """One to three round, sharply outlined nodules."""
    frame, total = chest.frame, np.zeros_like(chest.attenuation)
    for _ in range(int(rng.integers(1, 4))):
        radius = rng.uniform(0.022, 0.06)
        u, v = rng.uniform(0.3, 0.75) * rng.choice([-1, 1]), rng.uniform(0.2, 0.75)
        brim = 0.01 / radius
        ball = frame.ellipse(u=u, v=v, a=radius / frame.half_width, b=radius / frame.height, edge=brim)
        total += ball * np.float32(rng.uniform(0.18, 0.32))
    return total


def _pneumothorax(*, chest: Chest, rng: np.random.Generator) -> Layer:
    """Air outside a collapsed lung: a dark, structureless rim behind a thin white line."""
    frame = chest.frame
    sign = rng.choice([-1, 1])
    edge = rng.uniform(0.50, 0.70) - 0.35 * np.clip(0.55 - frame.v, 0, 1) ** 2 + 0.06 * np.sin(5 * frame.v)
    outside = sign * frame.u - edge
    line = np.exp(-((outside / 0.018) ** 2)) * 0.13
    rim = smooth_step(outside / 0.02 + 0.5)
    smooth = blur(chest.attenuation, sigma=0.02 * frame.side) - chest.attenuation
    shown = chest.lungs * (np.sign(frame.u) == sign) * smooth_step((0.95 - frame.v) / 0.1)
    return np.asarray(shown * (line + rim * (0.7 * smooth - 0.10)), np.float32)


def _effusion(*, chest: Chest, rng: np.random.Generator) -> Layer:
    """Fluid at a lung base: even, dense, its level rising sharply outlined towards the chest wall."""
    frame = chest.frame
    sign, level = rng.choice([-1, 1]), rng.uniform(0.60, 0.82)
    out = np.clip(sign * frame.u, 0, 1)
    surface = level + 0.10 * (1 - out) - 0.30 * np.clip(out - 0.55, 0, 1) ** 2 / 0.2
    fluid = smooth_step((frame.v - surface) / 0.03 + 0.5) * (np.sign(frame.u) == sign)
    return np.asarray(fluid * chest.lungs * rng.uniform(0.30, 0.38), np.float32)


def _device(*, chest: Chest, rng: np.random.Generator) -> Layer:
    """A pacemaker with its lead, or a central line and electrodes."""
    frame = chest.frame
    layer = np.zeros((frame.side, frame.side), np.uint8)
    sign = rng.choice([-1, 1])
    along = np.linspace(0, 1, 16)
    if rng.random() < 0.5:
        start, end, density = (sign * rng.uniform(0.62, 0.82), rng.uniform(0.12, 0.24)), (0.25, 0.85), 0.50
        _case(chest=chest, layer=layer, u=start[0], v=start[1])
    else:
        start, end, density = (sign * 0.9, rng.uniform(-0.02, 0.05)), (-0.08, rng.uniform(0.45, 0.6)), 0.30
        for _ in range(int(rng.integers(0, 4))):
            u, v, size = rng.uniform(-0.9, 0.9), rng.uniform(0.05, 0.9), 0.011
            dot = frame.ellipse(u=u, v=v, a=size / frame.half_width, b=size / frame.height, edge=0.3)
            layer = np.maximum(layer, (dot * 200).astype(np.uint8))
    bend = np.stack([start[0] + (end[0] - start[0]) * along**0.6, start[1] + (end[1] - start[1]) * along**1.8], axis=1)
    frame.line(layer, bend, width=0.005, value=230)
    return np.asarray(layer.astype(np.float32) / 255 * density, np.float32)


def _case(*, chest: Chest, layer: UInt8[np.ndarray, "side side"], u: float, v: float) -> None:
    """A pacemaker's rounded case, as a thick-lined filled outline."""
    angle = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    lobes = np.sign(np.stack([np.cos(angle), np.sin(angle)], 1)) * np.abs([np.cos(angle), np.sin(angle)]).T ** 0.6
    outline = np.array([u, v]) + lobes * 0.04 / np.array([chest.frame.half_width, chest.frame.height])
    cv2.fillPoly(layer, [chest.frame.pixels(outline)], 235, cv2.LINE_AA, 4)
