import pickle
import warnings
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from rsna_det.data.augmentation.geometry import (
    BoxRule,
    WarpDraw,
    WarpLimits,
    draw_warp,
    map_boxes,
    source_map,
    warp_image,
)
from rsna_det.data.augmentation.presets import Augmentation
from tests.data.augmentation.presets import PAPER, PUBLISHED, preset

STILL = WarpDraw(
    flip=False, scale=(1.0, 1.0), rotation=0.0, shear=0.0, shift=(0.0, 0.0), corner_shifts=np.zeros((4, 2))
)
NO_BOXES = np.zeros((0, 4), np.float32)


def still(**changes: object) -> WarpDraw:
    return WarpDraw(**{**vars(STILL), **changes})


def picture(side: int = 64) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (side, side), dtype=np.uint8)
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), 2), dtype=np.uint8)


def areas(boxes: np.ndarray) -> np.ndarray:
    return np.asarray((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))


def slow_map(box: np.ndarray, matrix: np.ndarray, rule: str) -> list[float]:
    """The same box by walking along its edges, one point at a time."""
    x1, y1, x2, y2 = box.tolist()
    ring = [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]
    steps = [0.0] if rule == "corners" else [1 / 3, 2 / 3]
    xs, ys = [], []
    for (ax, ay), (bx, by) in zip(ring, ring[1:] + ring[:1], strict=True):
        for step in steps:
            x, y, w = matrix @ np.array([ax + step * (bx - ax), ay + step * (by - ay), 1.0])
            xs.append(x / w)
            ys.append(y / w)
    return [min(xs), min(ys), max(xs), max(ys)]


# --- geometry -------------------------------------------------------------------------------------------------


def test_quarter_turn_of_a_box_by_corners_and_by_thirds() -> None:
    # (x, y) -> (100 - y, x): a quarter turn of a 100-px square. Edges 10..40 and 20..80 land on 20..80 and 10..40.
    turn = np.array([[0.0, -1.0, 100.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    box = np.array([[10.0, 20.0, 40.0, 80.0]])
    for rule in ("corners", "edge_thirds"):  # points on the edges reach every side of an axis-aligned image
        np.testing.assert_allclose(map_boxes(box, turn, rule=rule), [[20.0, 10.0, 80.0, 40.0]], atol=1e-12)


def test_eighth_turn_of_a_square_grows_twofold_by_corners_and_less_by_thirds() -> None:
    half = np.sqrt(0.5)
    turn = np.array([[half, -half, 0.0], [half, half, 0.0], [0.0, 0.0, 1.0]])
    square = np.array([[-3.0, -3.0, 3.0, 3.0]])
    # Corners reach 3 * sqrt(2) from the centre: the area is (6 * sqrt(2))^2 = 72, twice 36.
    np.testing.assert_allclose(areas(map_boxes(square, turn, rule="corners")), [72.0])
    # The thirds nearest to a corner, (3, 1) say, reach (3 + 1) / sqrt(2): the area is (8 / sqrt(2))^2 = 32.
    np.testing.assert_allclose(areas(map_boxes(square, turn, rule="edge_thirds")), [32.0])


@pytest.mark.parametrize("rule", ["corners", "edge_thirds"])
def test_boxes_follow_a_slow_oracle(rule: BoxRule) -> None:
    generator = np.random.default_rng(1)
    limits = WarpLimits(
        draws="normal", flip_probability=0.5, scale=0.15, rotation=6.0, shear=4.0, perspective=0.05, shift=0.1
    )
    for _ in range(50):
        matrix = np.linalg.inv(source_map(draw_warp(limits, generator), height=90, width=110))
        corners = generator.uniform(0, 60, (5, 2))
        boxes = np.concatenate([corners, corners + generator.uniform(1, 40, (5, 2))], axis=1)
        expected = [slow_map(box, matrix, rule) for box in boxes]
        np.testing.assert_allclose(map_boxes(boxes, matrix, rule=rule), expected, atol=1e-9)


def test_no_boxes_map_to_no_boxes() -> None:
    assert map_boxes(NO_BOXES, np.eye(3), rule="corners").shape == (0, 4)


def test_scale_keeps_the_centre_and_draws_the_source_scale() -> None:
    # The source's x advances by 2 for each pixel seen: the image looks half as wide about its centre, 20 px.
    matrix = source_map(still(scale=(2.0, 1.0)), height=40, width=40)
    np.testing.assert_allclose(matrix @ [20, 20, 1], [20, 20, 1])
    np.testing.assert_allclose(matrix @ [25, 22, 1], [30, 22, 1])
    from_source = np.linalg.inv(matrix)
    box = np.array([[10.0, 10.0, 30.0, 30.0]])
    np.testing.assert_allclose(map_boxes(box, from_source, rule="edge_thirds"), [[15.0, 10.0, 25.0, 30.0]])


def test_rotation_is_about_the_centre_of_an_image_that_is_not_square() -> None:
    matrix = source_map(still(rotation=90.0), height=40, width=60)
    np.testing.assert_allclose(matrix @ [30, 20, 1], [30, 20, 1], atol=1e-12)
    np.testing.assert_allclose(matrix @ [40, 20, 1], [30, 30, 1], atol=1e-12)


def test_shear_slants_x_by_the_tangent() -> None:
    matrix = source_map(still(shear=45.0), height=40, width=40)
    np.testing.assert_allclose(matrix @ [20, 30, 1], [30, 30, 1])  # 10 px below the centre: 10 * tan(45 deg) = 10


def test_perspective_sends_the_corners_where_it_says() -> None:
    shifts = np.array([[0.1, 0.0], [0.0, 0.05], [-0.1, -0.1], [0.02, 0.0]])
    matrix = source_map(still(corner_shifts=shifts), height=100, width=200)
    for corner, target in zip(
        [(0, 0), (200, 0), (200, 100), (0, 100)], [(20, 0), (200, 5), (180, 90), (4, 100)], strict=True
    ):
        x, y, w = matrix @ [*corner, 1.0]
        np.testing.assert_allclose([x / w, y / w], target, atol=1e-4)


def test_shift_moves_whole_pixels_without_blurring() -> None:
    image = picture(32)
    moved = warp_image(image, source_map(still(shift=(4 / 32, -2 / 32)), height=32, width=32), fill=7)
    # The centre seen lies 4 px right of and 2 px above the source's: the picture moves left by 4, down by 2.
    np.testing.assert_array_equal(moved[2:, :-4], image[:-2, 4:])
    assert (moved[:2] == 7).all()
    assert (moved[:, -4:] == 7).all()


def test_flip_mirrors_pixels_and_boxes_exactly() -> None:
    image, boxes = picture(), np.array([[3.0, 5.0, 20.0, 30.0], [63.0, 0.0, 64.0, 1.0]], np.float32)
    flipped, mirrored = preset("none", flip_probability=1.0)(image, boxes, 0)
    np.testing.assert_array_equal(flipped, image[:, ::-1])
    np.testing.assert_array_equal(mirrored, [[44.0, 5.0, 61.0, 30.0], [0.0, 0.0, 1.0, 1.0]])  # 64 - x2, 64 - x1


def test_boxes_stay_on_what_they_mark() -> None:
    """A white rectangle on black: after any geometry its bright pixels fill the box by corners."""
    augmentation = preset("heavy", **QUIET)
    image = np.zeros((128, 128), np.uint8)
    image[40:90, 30:70] = 255
    boxes = np.array([[30.0, 40.0, 70.0, 90.0]], np.float32)
    for seed in range(60):
        warped, moved = augmentation(image, boxes, seed)
        rows, columns = np.nonzero(warped > 127)
        seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_allclose(moved[0], seen, atol=1.5)


QUIET = {
    "gamma": 0.0,
    "brightness": 0.0,
    "patch_probability": 0.0,
    "blur_probability": 0.0,
    "noise_probability": 0.0,
}


# --- draws ----------------------------------------------------------------------------------------------------


def many(limits: WarpLimits, count: int = 4000) -> list[WarpDraw]:
    generator = np.random.default_rng(3)
    return [draw_warp(limits, generator) for _ in range(count)]


def test_uniform_draws_stay_within_and_fill_their_limits() -> None:
    draws = many(preset("heavy").warp_limits())
    rotation = np.array([draw.rotation for draw in draws])
    assert abs(rotation).max() <= 6
    assert rotation.std() == pytest.approx(6 / np.sqrt(3), rel=0.05)  # of U(-a, a)
    scale = np.array([draw.scale for draw in draws])
    assert abs(scale - 1).max() <= 0.15
    assert scale.mean() == pytest.approx(1, abs=0.01)
    assert abs(np.corrcoef(scale.T)[0, 1]) < 0.06  # the axes are independent
    assert max(abs(draw.shear) for draw in draws) <= 4
    corners = np.array([draw.corner_shifts for draw in draws])
    assert abs(corners).max() <= 0.03
    assert corners.std() == pytest.approx(0.03 / np.sqrt(3), rel=0.05)
    assert np.mean([draw.flip for draw in draws]) == pytest.approx(0.5, abs=0.03)
    assert all(draw.shift == (0.0, 0.0) for draw in draws)


def test_normal_draws_have_the_limits_as_deviations_and_no_bound() -> None:
    draws = many(preset("published_heavy").warp_limits())
    rotation = np.array([draw.rotation for draw in draws])
    assert rotation.std() == pytest.approx(6, rel=0.05)
    assert abs(rotation).max() > 12
    scale = np.log2([draw.scale for draw in draws])
    assert scale.std() == pytest.approx(0.15, rel=0.05)
    assert np.std([draw.shear for draw in draws]) == pytest.approx(4, rel=0.05)
    shift = np.array([draw.shift for draw in draws])
    assert abs(shift).max() <= 32 / 1024
    assert not any(draw.flip or draw.corner_shifts.any() for draw in draws)


def test_presets_with_one_seed_share_their_other_draws() -> None:
    draws = [draw_warp(preset(name).warp_limits(), np.random.default_rng(5)) for name in ("heavy", "heavy_norot")]
    assert draws[1].rotation == 0
    assert draws[0].rotation != 0
    assert {**vars(draws[0]), "rotation": 0, "corner_shifts": 0} == {**vars(draws[1]), "corner_shifts": 0}


@pytest.mark.parametrize("name", [*PAPER, *PUBLISHED])
def test_a_draw_follows_from_the_seed_alone(name: str) -> None:
    augmentation, image = preset(name), picture()
    boxes = np.array([[10, 10, 40, 50]], np.float32)
    before = image.copy()
    first = augmentation(image, boxes, 11)
    for other in range(5):
        augmentation(image, boxes, other)
    again = augmentation(image, boxes, 11)
    restored = pickle.loads(pickle.dumps(augmentation))(image, boxes, 11)  # noqa: S301 - as a spawned worker gets it
    for repeat in (again, restored):
        np.testing.assert_array_equal(first[0], repeat[0])
        np.testing.assert_array_equal(first[1], repeat[1])
    np.testing.assert_array_equal(image, before)
    changed = [not np.array_equal(augmentation(image, boxes, seed)[0], first[0]) for seed in range(3)]
    assert all(changed) or name == "none"


def test_none_changes_nothing() -> None:
    image, boxes = picture(), np.array([[0, 0, 64, 64], [5, 5, 6, 6]], np.float32)
    augmented, kept = preset("none")(image, boxes, 3)
    np.testing.assert_array_equal(augmented, image)
    np.testing.assert_array_equal(kept, boxes)


def test_published_none_only_shifts() -> None:
    image = picture(128)
    augmented, _ = preset("published_none")(image, NO_BOXES, 3)
    assert not np.array_equal(augmented, image)
    assert augmented.mean() == pytest.approx(image.mean(), rel=0.1)  # up to 4 of 128 px on each axis come in black


# --- boxes at the border --------------------------------------------------------------------------------------


def shifting(fraction: float) -> Augmentation:
    """Every draw shifts; the test reads the shift off the corners of a mark."""
    return preset("none", shift=fraction)


def test_boxes_are_clipped_and_dropped_below_a_tenth() -> None:
    image = np.zeros((100, 100), np.uint8)
    boxes = np.array([[0, 30, 10, 40], [30, 30, 60, 60], [90, 90, 100, 100]], np.float32)
    augmentation, full = shifting(0.12), shifting(0.12)
    full.minimum_inside = 0.0
    kept_counts = set()
    for seed in range(200):
        draw = draw_warp(augmentation.warp_limits(), _stream(seed))
        moved = boxes - np.float32(100) * np.array([*draw.shift, *draw.shift], np.float32)
        clipped = moved.clip(0, 100)
        inside = areas(clipped) / areas(moved)
        expected = clipped[inside >= 0.1]
        _, kept = augmentation(image, boxes, seed)
        if abs(inside - 0.1).min() > 1e-4:
            np.testing.assert_allclose(kept, expected, atol=1e-3)
            kept_counts.add(len(kept))
    assert kept_counts == {1, 2, 3}


def _stream(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("name", [*PAPER, *PUBLISHED])
def test_hostile_boxes_stay_inside_and_keep_an_area(name: str) -> None:
    augmentation, image = preset(name), picture()
    boxes = np.array(
        [[0, 0, 64, 64], [0, 0, 1, 1], [63, 63, 64, 64], [63.5, 0, 64, 64], [31, 31, 31.5, 32], [0, 63.9, 64, 64]],
        np.float32,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for seed in range(40):
            augmented, kept = augmentation(image, boxes, seed)
            assert augmented.shape == image.shape
            assert augmented.dtype == np.uint8
            assert kept.dtype == np.float32
            assert kept.min(initial=0) >= 0
            assert kept.max(initial=0) <= 64
            assert (areas(kept) > 0).all()
            assert len(kept) >= 1  # the box over the whole image cannot be lost


@pytest.mark.parametrize("name", [*PAPER, *PUBLISHED])
def test_no_boxes_stay_no_boxes(name: str) -> None:
    for seed in range(5):
        assert preset(name)(picture(), NO_BOXES, seed)[1].shape == (0, 4)


# --- grey values ----------------------------------------------------------------------------------------------


def test_gamma_raises_to_a_power_within_its_limits() -> None:
    augmentation = preset("none", gamma=0.25, gamma_probability=1.0)
    image = np.full((64, 64), 128, np.uint8)
    seen = [int(augmentation(image, NO_BOXES, seed)[0][0, 0]) for seed in range(300)]
    low, high = (255 * (128 / 255) ** (2**exponent) for exponent in (0.25, -0.25))  # 112.5 and 142.7
    assert round(low) <= min(seen) <= 114
    assert 141 <= max(seen) <= round(high)


def test_brightness_adds_up_to_its_limit() -> None:
    augmentation = preset("none", brightness=0.1, brightness_probability=1.0)
    image = np.full((64, 64), 100, np.uint8)
    seen = np.array([int(augmentation(image, NO_BOXES, seed)[0][0, 0]) for seed in range(300)])
    assert 74 <= seen.min() <= 77  # 100 - 25.5
    assert 123 <= seen.max() <= 126
    assert seen.mean() == pytest.approx(100, abs=2)


def test_probabilities_are_those_of_the_presets() -> None:
    image = np.full((64, 64), 100, np.uint8)
    augmentation = preset("none", noise_deviation=0.04, noise_probability=0.5)
    changed = np.mean([not np.array_equal(augmentation(image, NO_BOXES, seed)[0], image) for seed in range(400)])
    assert changed == pytest.approx(0.5, abs=0.08)  # three deviations of a coin tossed 400 times


def test_noise_deviation_is_uniform_up_to_its_limit() -> None:
    image = np.full((64, 64), 128, np.uint8)
    augmentation = preset("none", noise_deviation=0.04, noise_probability=1.0)
    noisy = [augmentation(image, NO_BOXES, seed)[0].astype(float) for seed in range(200)]
    deviations = np.array([image.std() for image in noisy])
    assert deviations.max() <= 0.04 * 255 * 1.05
    assert deviations.mean() == pytest.approx(0.04 * 255 / 2, rel=0.15)
    assert np.mean(noisy) == pytest.approx(128, abs=0.1)


def test_patches_cover_one_percent_in_cells_of_the_grid() -> None:
    image = np.full((100, 100), 128, np.uint8)
    augmentation = preset("none", patch_fraction=0.01, patch_probability=1.0)
    pictures = np.stack([augmentation(image, NO_BOXES, seed)[0] for seed in range(300)])
    assert set(np.unique(pictures)) == {0, 128, 255}
    assert np.mean(pictures != 128) == pytest.approx(0.01, rel=0.2)
    assert np.sum(pictures == 0) == pytest.approx(np.sum(pictures == 255), rel=0.25)
    largest = max(
        cv2.connectedComponentsWithStats((p != 128).astype(np.uint8))[2][1:, 4].max(initial=0) for p in pictures
    )
    assert largest >= 100  # a grid of a tenth of the side has cells of 10 x 10 px


def test_blur_smooths_without_changing_the_mean() -> None:
    image = picture()
    augmentation = preset("none", blur_sigma=2.0, blur_probability=1.0)
    blurred = [augmentation(image, NO_BOXES, seed)[0] for seed in range(50)]
    assert min(b.std() for b in blurred) < 0.8 * image.std()
    assert all(abs(b.mean() - image.mean()) < 1.5 for b in blurred)


# --- constructor ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("rotation", -1.0, "augmentation.rotation is -1.0; expected 0 to 45"),
        ("flip_probability", 1.5, "flip_probability"),
        ("scale", float("nan"), "augmentation.scale is nan"),
        ("patch_grid_max", 0.05, "patch_grid_min <= patch_grid_max"),
        ("fill", 256, "augmentation.fill is 256"),
    ],
)
def test_numbers_out_of_range_are_refused(name: str, value: float, message: str) -> None:
    settings = {key: entry for key, entry in vars(preset("heavy")).items() if key != "_pipeline"}
    with pytest.raises(ValueError, match=message):
        Augmentation(**{**settings, name: value})


# --- growth of boxes ------------------------------------------------------------------------------------------


def challenge_like_boxes(count: int) -> np.ndarray:
    """Boxes whose log width and log height are normal, with a correlation of 0.6, as the challenge's roughly are."""
    generator = np.random.default_rng(0)
    widths, heights = (0.29, 0.51)
    covariance = np.array([[widths**2, 0.6 * widths * heights], [0.6 * widths * heights, heights**2]])
    sides = np.exp(generator.multivariate_normal([np.log(210), np.log(290)], covariance, count))
    centres = generator.uniform(350, 670, (count, 2))
    return np.concatenate([centres - sides / 2, centres + sides / 2], axis=1)


def mean_growth(name: str, rule: BoxRule, boxes: np.ndarray) -> float:
    """Mean of area after / area before, over boxes and draws, from the geometry alone: before any clipping."""
    limits, generator = preset(name).warp_limits(), np.random.default_rng(1)
    ratios = []
    for part in np.array_split(boxes, 2500):
        matrix = np.linalg.inv(source_map(draw_warp(limits, generator), height=1024, width=1024))
        ratios.append(areas(map_boxes(part, matrix, rule=rule)) / areas(part))
    return float(np.concatenate(ratios).mean())


@pytest.mark.parametrize(
    ("name", "rule", "growth"),
    [
        ("published_heavy", "corners", 1.22),
        ("published_heavy", "edge_thirds", 1.07),
        ("heavy", "corners", 1.165),
        ("heavy", "edge_thirds", 1.057),
    ],
)
def test_boxes_grow_as_much_as_the_custom_rotation_promises(name: str, rule: BoxRule, growth: float) -> None:
    assert mean_growth(name, rule, challenge_like_boxes(25000)) == pytest.approx(growth, abs=0.02)


def test_real_boxes_grow_as_much(real_data: Path) -> None:
    table = pd.read_csv(real_data / "stage_2_train_labels.csv").dropna()
    corners, sides = table[["x", "y"]].to_numpy(), table[["width", "height"]].to_numpy()
    boxes = np.tile(np.concatenate([corners, corners + sides], axis=1), (25000 // len(table) + 1, 1))
    np.random.default_rng(0).shuffle(boxes)
    assert mean_growth("published_heavy", "corners", boxes) == pytest.approx(1.22, abs=0.03)
    assert mean_growth("published_heavy", "edge_thirds", boxes) == pytest.approx(1.07, abs=0.03)
