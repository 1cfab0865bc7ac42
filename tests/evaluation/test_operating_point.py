"""The operating point as a file, and the detections that are made with it."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from rsna_det.boxes.decoding import DecodingSettings
from rsna_det.errors import DataError, InvalidValueError, MissingFileError
from rsna_det.evaluation.candidate_rows import CandidateRows
from rsna_det.evaluation.operating_point import (
    SIZE_RULES,
    OperatingPoint,
    image_detections,
    read_operating_point,
    write_operating_point,
)
from tests.oracles import grid as oracle
from tests.oracles.cases import integer_boxes, near_boxes

PLAIN: dict[str, object] = {
    "image_size": 512,
    "score_floor": 0.025,
    "max_candidates": 300,
    "nms_iou": 0.05,
    "relative_cut": 0.5,
    "cut": 0.15,
}
POINTS = [
    {},
    {"epoch": 0, "cut": 0.0, "score_floor": 0.0, "nms_iou": 0.0, "relative_cut": 0.0},
    {"epoch": 11, "size_rule": "rescale", "rescale_factor": 0.9, "cut": 0.1 + 0.2},
    {"size_rule": "percentile", "size_scale": 0.0, "max_candidates": 1, "score_floor": 1e-5},
    {"size_rule": "none", "size_scale": 1.6, "cut": 1e-17, "score_floor": 1e-17, "relative_cut": 1.0, "nms_iou": 1.0},
]
EVIDENCE = {"score": 0.25, "cut": 0.9, "epoch": 99, "runs": ["a: b", "é"], "nested": {"low": 0.2, "none": None}}


def point(**changed: object) -> OperatingPoint:
    return OperatingPoint(**(PLAIN | changed))  # type: ignore[arg-type]


@pytest.mark.parametrize("changed", POINTS)
@pytest.mark.parametrize("evidence", [{}, EVIDENCE])
def test_what_is_written_is_read_back(changed: dict[str, object], evidence: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "operating_point.yaml"
    write_operating_point(point(**changed), path, evidence=evidence)
    found = read_operating_point(path)
    assert found == point(**changed)
    for field in dataclasses.fields(found):
        assert type(getattr(found, field.name)) is type(getattr(point(**changed), field.name))
    assert list(tmp_path.iterdir()) == [path]


def test_the_evidence_is_there_for_the_reader(tmp_path: Path) -> None:
    path = tmp_path / "point.yaml"
    write_operating_point(point(), path, evidence={"chosen on": "half of the patients"})
    assert "half of the patients" in path.read_text(encoding="utf-8")
    write_operating_point(point(cut=0.5), path, evidence={})  # replaces the file
    assert read_operating_point(path).cut == 0.5


def written(path: Path, changed: dict[str, object], *, without: str = "") -> Path:
    """A file of an operating point, changed by hand as the package itself would have laid it out."""
    write_operating_point(point(), path, evidence={"score": 0.25})
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    place = values if "cut" in values else next(v for v in values.values() if isinstance(v, dict) and "cut" in v)
    place.update(changed)
    place.pop(without, None)
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


BAD = [
    *(("image_size", value) for value in (0, -512, 1.5, "large", None)),
    *(("score_floor", value) for value in (-0.1, 1.5, math.nan, math.inf, "low", None)),
    *(("max_candidates", value) for value in (0, -1, 2.5, "all", None)),
    *(("nms_iou", value) for value in (-0.1, 1.5, math.nan, "x", None)),
    *(("relative_cut", value) for value in (-0.1, 1.5, math.nan, None)),
    *(("cut", value) for value in (-0.1, math.nan, math.inf, "0,15", None, [0.15])),
    *(("size_rule", value) for value in ("shrink", "", None, 3)),
    *(("size_scale", value) for value in (-1.0, math.nan, math.inf, None)),
    *(("rescale_factor", value) for value in (0.0, -1.0, 1.0001, math.nan, math.inf, None)),
    *(("epoch", value) for value in (-1, 1.5, "last")),
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_every_bad_value_is_refused_with_the_files_name(name: str, value: object, tmp_path: Path) -> None:
    path = written(tmp_path / "my_point.yaml", {name: value})
    with pytest.raises(DataError, match=r"my_point\.yaml") as error:
        read_operating_point(path)
    assert name in str(error.value)


@pytest.mark.parametrize(
    ("name", "value"), [(n, v) for n, v in BAD if isinstance(v, (int, float)) and n != "size_rule"]
)
def test_bad_numbers_are_refused_without_a_file_too(name: str, value: float) -> None:
    with pytest.raises((InvalidValueError, TypeError)):
        point(**{name: value})


def test_a_cut_below_the_score_floor_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="floor"):
        point(cut=0.02)
    assert point(cut=0.025).cut == 0.025


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="shrink"):
        point(size_rule="shrink")
    assert [point(size_rule=rule).size_rule for rule in SIZE_RULES] == ["none", "percentile", "rescale"]


def test_unknown_and_missing_keys_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"extra\.yaml(.|\n)*nms_threshold"):
        read_operating_point(written(tmp_path / "extra.yaml", {"nms_threshold": 0.5}))
    for name in PLAIN:
        with pytest.raises(DataError, match=rf"less\.yaml(.|\n)*{name}"):
            read_operating_point(written(tmp_path / "less.yaml", {}, without=name))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"- 1\n- 2\n",
        b"text",
        b"cut: [0.15",
        b"\x00\x01\x02",
        b"\xff\xfe\xff",
        b"{}",
        b"cut: 0.1\n\tcut: 2\n",
        b"1",
        b"cut: 2024-13-45",
    ],
)
def test_a_file_that_is_no_operating_point_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"broken\.yaml"):
        read_operating_point(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"nowhere\.yaml"):
        read_operating_point(tmp_path / "nowhere.yaml")


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(OSError, match=r"point\.yaml"):
        write_operating_point(point(), tmp_path / "file" / "point.yaml", evidence={})


def test_a_full_disk_leaves_the_old_file_and_no_rubbish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "point.yaml"
    write_operating_point(point(), path, evidence={})

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match=r"point\.yaml"):
        write_operating_point(point(cut=0.9), path, evidence={})
    monkeypatch.undo()
    assert read_operating_point(path) == point()
    assert list(tmp_path.iterdir()) == [path]


def drawn(rng: np.random.Generator, count: int) -> list[tuple[list[list[float]], list[float]]]:
    images = []
    for _ in range(count):
        boxes = integer_boxes(rng=rng, count=int(rng.integers(0, 6)), side=40)
        boxes = np.concatenate([boxes, np.round(near_boxes(rng=rng, boxes=boxes[:3], shift=0.2))])
        scores = sorted((rng.integers(1, 17, size=len(boxes)) / 16).tolist(), reverse=True)
        images.append((boxes.tolist(), scores))
    return images


def rows(images: list[tuple[list[list[float]], list[float]]]) -> CandidateRows:
    boxes = [box for image_boxes, _ in images for box in image_boxes]
    return CandidateRows(
        boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        scores=torch.tensor([score for _, scores in images for score in scores], dtype=torch.float32),
        offsets=torch.tensor([0, *np.cumsum([len(scores) for _, scores in images])], dtype=torch.int64),
    )


@pytest.mark.parametrize("rule", SIZE_RULES)
@pytest.mark.parametrize(("nms_iou", "relative_cut", "cut"), [(0.0625, 0.5, 0.25), (0.5, 0.0, 0.0), (0.0, 1.0, 0.5)])
def test_detections_equal_the_oracle(rule: str, nms_iou: float, relative_cut: float, cut: float) -> None:
    images = drawn(np.random.default_rng(95), 60)
    given = {"nms_iou": nms_iou, "relative_cut": relative_cut, "cut": cut}
    chosen = point(score_floor=0.0, size_rule=rule, rescale_factor=0.875, size_scale=1.6, **given)
    found = image_detections(rows(images), chosen)
    assert len(found) == len(images)
    factor = 0.875 if rule == "rescale" else 1.0
    for detections, image in zip(found, images, strict=True):
        boxes, scores = oracle.final_boxes(image=image, rescale_factor=factor, **given)
        assert detections.boxes.tolist() == boxes
        assert detections.scores.tolist() == scores


def test_rescaling_keeps_centres_and_multiplies_sizes() -> None:
    images = [([[100.0, 50.0, 300.0, 90.0], [0.0, 0.0, 20.0, 20.0]], [0.9, 0.8])]
    (found,) = image_detections(rows(images), point(size_rule="rescale", rescale_factor=0.7))
    wanted = [[130, 56, 270, 84], [3, 3, 17, 17]]
    np.testing.assert_allclose(found.boxes.numpy(), wanted, atol=1e-4)
    assert found.scores.tolist() == [np.float32(0.9), np.float32(0.8)]


def test_sizes_are_corrected_after_nms() -> None:
    # IoU 2 / 18 of boxes that would not overlap once they are half as wide.
    images = [([[0.0, 0.0, 10.0, 10.0], [8.0, 0.0, 18.0, 10.0]], [0.9, 0.8])]
    (found,) = image_detections(rows(images), point(size_rule="rescale", rescale_factor=0.5))
    assert len(found.scores) == 1


def test_no_image_and_no_candidate() -> None:
    assert image_detections(rows([]), point()) == []
    (found,) = image_detections(rows([([], [])]), point(size_rule="rescale"))
    assert found.boxes.shape == (0, 4)
    assert found.scores.shape == (0,)


def test_of_a_run() -> None:
    decoding = DecodingSettings(
        score_floor=0.01, max_candidates=300, nms_iou=0.05, relative_cut=0.5, cut=0.15, cut_grid=(0.1, 0.5, 0.1)
    )
    point = OperatingPoint.of_run(decoding=decoding, image_size=512, cut=0.2, epoch=3)
    wanted = OperatingPoint(
        image_size=512, score_floor=0.01, max_candidates=300, nms_iou=0.05, relative_cut=0.5, cut=0.2, epoch=3
    )
    assert point == wanted
    with pytest.raises(InvalidValueError, match="below the score floor"):
        OperatingPoint.of_run(decoding=decoding, image_size=512, cut=0.005)


@pytest.mark.parametrize(
    ("name", "value"),
    [("score_floor", -0.1), ("nms_iou", 1.1), ("relative_cut", float("nan")), ("cut", 2), ("max_candidates", 0)],
)
def test_decoding_and_operating_point_refuse_the_same_numbers(name: str, value: float) -> None:
    numbers = {"score_floor": 0.01, "max_candidates": 300, "nms_iou": 0.05, "relative_cut": 0.5, "cut": 0.15}
    with pytest.raises(InvalidValueError, match=rf"^decoding\.{name} is {value}; expected"):
        DecodingSettings(**(numbers | {name: value}), cut_grid=(0.1, 0.5, 0.1))  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match=rf"^{name} is {value}; expected"):
        OperatingPoint(image_size=64, **(numbers | {name: value}))  # type: ignore[arg-type]
