"""The augmentation built the plain way: all of it in the library, boxes checked after each transform. Slow."""

import random
from typing import Any

import albumentations as A  # noqa: N812
import numpy as np
from albumentations.core.type_definitions import Targets

from rsna_det.data.augmentation.geometry import draw_warp, map_boxes, source_map, warp_image
from rsna_det.data.augmentation.presets import Augmentation
from rsna_det.data.augmentation.transforms import (
    Gamma,
    GaussianNoise,
    SaltAndPepperPatches,
    _normal_quantiles,
    brightness,
    gaussian_blur,
)


class Warp(A.DualTransform):
    """All geometry as one transform."""

    _targets = (Targets.IMAGE, Targets.BBOXES)

    def __init__(self, preset: Augmentation) -> None:
        super().__init__(p=1.0)
        self.preset = preset

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        height, width = params["shape"][:2]
        draw = draw_warp(self.preset.warp_limits(), self.random_generator)
        return {"to_source": None if draw.is_identity else source_map(draw, height=height, width=width)}

    def apply(self, img: np.ndarray, to_source: np.ndarray | None, **_: object) -> np.ndarray:
        return img if to_source is None else warp_image(img, to_source, fill=self.preset.fill)

    def apply_to_bboxes(self, bboxes: np.ndarray, to_source: np.ndarray | None, **params: Any) -> np.ndarray:
        if to_source is None:
            return bboxes
        height, width = params["shape"][:2]
        sides = np.array([width, height, width, height], dtype=np.float64)
        mapped = map_boxes(bboxes[:, :4] * sides, np.linalg.inv(to_source), rule=self.preset.boxes_by)
        return np.concatenate([mapped / sides, bboxes[:, 4:]], axis=1)


class PlainNoise(GaussianNoise):
    """Each pixel looked up by an index."""

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        deviation = 255 * self.deviation * self.random_generator.random()
        levels = np.rint(deviation * _normal_quantiles()).astype(np.int16)
        return {"noise": levels[self.random_generator.integers(65536, size=params["shape"][:2], dtype=np.uint16)]}


class PlainAugmentation:
    """As a preset describes it."""

    def __init__(self, preset: Augmentation) -> None:
        grid = (preset.patch_grid_min, preset.patch_grid_max)
        grey = [
            Gamma(exponent=preset.gamma, draws=preset.draws, p=preset.gamma_probability if preset.gamma else 0.0),
            brightness(limit=preset.brightness, p=preset.brightness_probability if preset.brightness else 0.0),
            SaltAndPepperPatches(fraction=preset.patch_fraction, grid=grid, p=preset.patch_probability),
            gaussian_blur(sigma=preset.blur_sigma, p=preset.blur_probability if preset.blur_sigma else 0.0),
            PlainNoise(deviation=preset.noise_deviation, p=preset.noise_probability if preset.noise_deviation else 0.0),
        ]
        boxes = A.BboxParams(
            format="pascal_voc", min_visibility=preset.minimum_inside, clip=True, filter_invalid_bboxes=True
        )
        active = [transform for transform in grey if transform.p > 0]
        changes = preset.warp_limits().allow_change or active
        self.pipeline = A.Compose([Warp(preset), *active], bbox_params=boxes, strict=True) if changes else None

    def __call__(self, image: np.ndarray, boxes: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        if self.pipeline is None:
            return image, boxes
        self.pipeline.set_random_state(np.random.default_rng(seed), random.Random(seed))  # noqa: S311
        changed = self.pipeline(image=image, bboxes=boxes)
        return changed["image"], np.asarray(changed["bboxes"], dtype=np.float32).reshape(-1, 4)
