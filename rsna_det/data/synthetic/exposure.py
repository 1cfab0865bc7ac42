"""Attenuation -> the grey values of one exposed film."""

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from rsna_det.data.synthetic.shapes import blur


def expose(attenuation: Float[np.ndarray, "side side"], *, rng: np.random.Generator) -> UInt8[np.ndarray, "side side"]:
    """Attenuation -> grey values, with the contrast, blackening, scatter and grain of one exposure."""
    side = attenuation.shape[0]
    scatter = rng.uniform(0.0, 0.3)
    hazy = (1 - scatter) * attenuation + scatter * blur(attenuation, sigma=0.06 * side)
    hazy = (hazy - rng.uniform(0.0, 0.10)) * rng.uniform(0.95, 1.20)
    slant = rng.uniform(-0.05, 0.05, size=2)
    ramp = np.linspace(-1, 1, side, dtype=np.float32)
    hazy = hazy + attenuation * (slant[0] * ramp[None, :] + slant[1] * ramp[:, None])
    bright = np.clip(hazy, 0, 1) ** rng.uniform(0.75, 1.25)
    white = rng.standard_normal((side, side), dtype=np.float32)
    grain = white + np.float32(1.5) * blur(white, sigma=0.8)
    bright = bright + grain * np.float32(rng.uniform(0.005, 0.02)) * (0.3 + bright)
    return np.asarray(np.clip(bright * 250 + 2, 0, 255), np.uint8)


def stamp_side_marker(pixels: UInt8[np.ndarray, "side side"], *, rng: np.random.Generator) -> None:
    """Stamp the film with an "L" in its upper corner."""
    side = pixels.shape[0]
    corner = (int(side * rng.uniform(0.86, 0.93)), int(side * rng.uniform(0.06, 0.14)))
    cv2.putText(pixels, "L", corner, cv2.FONT_HERSHEY_SIMPLEX, side / 700, 245, max(1, side // 250), cv2.LINE_AA)
