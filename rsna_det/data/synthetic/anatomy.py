"""Draws the anatomy of a frontal chest radiograph: body, lungs, ribs, spine, heart and diaphragm.

Brightness is additive, like the attenuation of X-rays along a ray: each structure adds to (air in the lungs takes from)
one sum, which :func:`rsna_det.data.synthetic.exposure.expose` turns into grey values. Structures are laid out in the
thorax coordinates of :mod:`rsna_det.data.synthetic.shapes`.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from rsna_det.data.synthetic.shapes import Frame, blur, clouds, smooth_step

_RIGHT_LUNG = np.array(
    [
        (-0.40, 0.00), (-0.60, 0.05), (-0.78, 0.25), (-0.89, 0.50), (-0.94, 0.78), (-0.96, 1.02), (-0.93, 1.03),
        (-0.80, 0.93), (-0.55, 0.87), (-0.30, 0.90), (-0.14, 0.98), (-0.12, 0.72), (-0.11, 0.40), (-0.15, 0.12),
        (-0.25, 0.01),
    ]
)  # fmt: skip
_BODY = np.array(
    [
        (-0.24, -0.60), (-0.28, -0.16), (-0.70, -0.08), (-1.35, 0.02), (-1.75, 0.30), (-1.85, 1.00), (-1.90, 1.80),
        (1.90, 1.80), (1.85, 1.00), (1.75, 0.30), (1.35, 0.02), (0.70, -0.08), (0.28, -0.16), (0.24, -0.60),
    ]
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """What two radiographs of one person have in common; sizes in thorax coordinates."""

    heart_width: float
    heart_height: float
    left_dome: float
    right_dome: float
    rib_spacing: float
    body_width: float
    slimness: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Anatomy":
        """A random person."""
        return cls(
            heart_width=rng.uniform(0.36, 0.46),
            heart_height=rng.uniform(0.27, 0.33),
            left_dome=rng.uniform(0.0, 0.06),
            right_dome=rng.uniform(-0.05, 0.02),
            rib_spacing=rng.uniform(0.085, 0.105),
            body_width=rng.uniform(0.70, 1.0),
            slimness=rng.uniform(0.0, 1.0),
        )


@dataclass(frozen=True, kw_only=True)
class Chest:
    """A drawn thorax: summed attenuation (0 air, about 1 the spine) and how much aerated lung each pixel sees."""

    frame: Frame
    attenuation: Float[np.ndarray, "side side"]
    lungs: Float[np.ndarray, "side side"]


def draw_chest(*, frame: Frame, anatomy: Anatomy, rng: np.random.Generator) -> Chest:
    """A healthy chest, except that the heart is as wide as ``anatomy`` says."""
    lungs = _lungs(frame, anatomy)
    heart = _heart(frame, anatomy)
    body = frame.polygon(_BODY * (anatomy.body_width, 1.0), softness=0.006)
    air = lungs * (1 - 0.9 * heart)
    belly = smooth_step((frame.v - 0.75) / 0.35)
    base = 0.60 + 0.03 * frame.u**2 + 0.16 * belly * smooth_step(1.4 - np.abs(frame.u)) + 0.02 * _texture(frame, rng)
    depth = 0.40 - 0.06 * smooth_step((frame.v - 0.5) / 0.6)
    attenuation = body * base - air * depth
    attenuation += body * (_midline(frame, anatomy) + 0.15 * heart * (1 - belly))
    attenuation += body * (1 - 0.6 * heart) * _bones(frame, anatomy)
    attenuation += air * _vessels(frame, rng) + body * _stomach(frame, anatomy, rng)
    return Chest(frame=frame, attenuation=attenuation.astype(np.float32), lungs=air)


def _lungs(frame: Frame, anatomy: Anatomy) -> np.ndarray:
    right = _RIGHT_LUNG.copy()
    left = _RIGHT_LUNG * (-1, 1)
    for outline, dome in ((right, anatomy.right_dome), (left, anatomy.left_dome)):
        outline[7:11, 1] += dome
    return np.asarray(np.maximum(frame.polygon(right, softness=0.006), frame.polygon(left, softness=0.006)))


def _heart(frame: Frame, anatomy: Anatomy) -> np.ndarray:
    width, height = anatomy.heart_width, anatomy.heart_height
    lean = frame.u + 0.30 * (0.72 - frame.v)
    radius = np.sqrt(((lean - 0.32 * width) / width) ** 2 + ((frame.v - 0.76) / height) ** 2)
    heart = smooth_step((1 - radius) / 0.22 + 0.5)
    aorta = frame.ellipse(u=0.10, v=0.30, a=0.13, b=0.09, edge=0.35)
    great_vessels = frame.ellipse(u=0.02, v=0.42, a=0.17, b=0.34, edge=0.4)
    return np.asarray(np.maximum(np.maximum(heart, aorta), great_vessels))


def _midline(frame: Frame, anatomy: Anatomy) -> np.ndarray:
    """Spine and mediastinum, less the air in the trachea."""
    soft = smooth_step((0.24 - np.abs(frame.u)) / 0.2)
    column = smooth_step((0.13 - np.abs(frame.u)) / 0.10 + 0.5)
    discs = 0.5 + 0.5 * np.cos(2 * np.pi * frame.v / anatomy.rib_spacing)
    trachea = smooth_step((0.045 - np.abs(frame.u)) / 0.03 + 0.5) * smooth_step((0.34 - frame.v) / 0.08)
    return np.asarray(0.08 * soft + column * (0.05 + 0.04 * discs) - 0.10 * trachea, np.float32)


def _bones(frame: Frame, anatomy: Anatomy) -> np.ndarray:
    """Ribs and clavicles; a bone's rim (its cortex) is denser than its middle."""
    back, front = (np.zeros((frame.side, frame.side), np.uint8) for _ in range(2))
    along = np.linspace(0, 1, 14)
    for sign in (-1, 1):
        for rib in range(10):
            start = anatomy.rib_spacing * rib - 0.03
            wall = 0.95 - 0.42 * max(0.0, 0.75 - start) ** 2
            posterior = np.stack(
                [sign * (0.10 + (wall - 0.10) * along), start - 0.05 * np.sin(np.pi * along) + 0.16 * along**2], axis=1
            )
            _bone(frame, back, posterior, width=0.030)
            anterior = np.stack([sign * (wall - (wall - 0.38) * along), start + 0.13 + 0.20 * along**0.8], axis=1)
            _bone(frame, front, anterior, width=0.030)
        clavicle = np.stack(
            [sign * (0.12 + 1.0 * along), 0.10 - 0.13 * along - 0.03 * np.sin(2 * np.pi * along)], axis=1
        )
        _bone(frame, back, clavicle, width=0.034)
    strength = np.float32(0.10 + 0.06 * anatomy.slimness) * (1 - 0.8 * smooth_step((frame.v - 0.85) / 0.2))
    layer = back.astype(np.float32) + np.float32(0.5) * front
    return blur(layer / 255, sigma=0.002 * frame.side) * strength


def _bone(frame: Frame, layer: np.ndarray, points: np.ndarray, *, width: float) -> None:
    frame.line(layer, points, width=width, value=255)
    frame.line(layer, points, width=width * 0.7, value=165)


def _vessels(frame: Frame, rng: np.random.Generator) -> np.ndarray:
    """Branches from the hila outwards, thinning on their way."""
    layer = np.zeros((frame.side, frame.side), np.uint8)
    for sign in (-1, 1):
        for _ in range(34):
            turns = rng.uniform(-1.3, 1.5) + np.cumsum(rng.normal(0, 0.16, size=12))
            step = rng.uniform(0.03, 0.075) * np.stack([sign * np.cos(turns), np.sin(turns)], axis=1)
            path = np.array([sign * rng.uniform(0.14, 0.26), rng.uniform(0.36, 0.54)]) + np.cumsum(step, axis=0)
            for part, width in ((slice(0, 5), 0.009), (slice(4, 9), 0.006), (slice(8, 12), 0.004)):
                frame.line(layer, path[part], width=width, value=int(rng.integers(90, 200)))
    return blur(layer.astype(np.float32) / 255, sigma=0.0025 * frame.side) * np.float32(rng.uniform(0.10, 0.20))


def _stomach(frame: Frame, anatomy: Anatomy, rng: np.random.Generator) -> np.ndarray:
    """Gas below the left dome of the diaphragm, in about half of all people."""
    v, a, shown = 1.02 + anatomy.left_dome, rng.uniform(0.12, 0.25), rng.random() < 0.5
    return frame.ellipse(u=0.48, v=v, a=a, b=0.05, edge=0.4) * np.float32(-0.25 if shown else 0.0)


def _texture(frame: Frame, rng: np.random.Generator) -> np.ndarray:
    return clouds(side=frame.side, rng=rng, grids=(5, 11, 23))
