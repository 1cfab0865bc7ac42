"""The operating point: read as it was written, refused where it cannot be, and what it makes of candidates."""

import re
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from rsna_det.evaluation.postprocess import (
    OperatingPoint,
    image_detections,
    read_operating_point,
    write_operating_point,
)
from rsna_det.evaluation.predictions import CandidateRows
from tests.oracles.decoding import detections
from tests.oracles.evaluation import resized

POINT = OperatingPoint(
    image_size=512, score_floor=0.025, max_candidates=300, nms_iou=0.05, relative_cut=0.5, cut=0.15, epoch=7
)


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    point = replace(POINT, cut=0.1 + 0.2, size_rule="rescale", rescale_factor=0.9)
    path = tmp_path / "operating_point.yaml"
    write_operating_point(point, path, evidence={"map": 0.25, "runs": ["a b"]})
    assert read_operating_point(path) == point
    assert yaml.safe_load(path.read_text())["evidence"] == {"map": 0.25, "runs": ["a b"]}
    assert [p.name for p in tmp_path.iterdir()] == ["operating_point.yaml"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cut": 1.5}, "cut is 1.5; expected 0 to 1"),
        ({"nms_iou": -0.1}, "nms_iou is -0.1"),
        ({"relative_cut": "half"}, "relative_cut"),
        ({"image_size": 0}, "image_size is 0"),
        ({"max_candidates": 0}, "max_candidates 0"),
        ({"size_rule": "smaller"}, "'smaller'; expected one of none, percentile, rescale"),
        ({"rescale_factor": 0.0}, "rescale_factor 0.0"),
        ({"size_scale": -1.0}, "size_scale is -1.0"),
        ({"cut": 0.01}, "below the score floor of 0.025"),
        ({"cutt": 0.2}, "cutt"),
    ],
)
def test_a_bad_file_is_named_with_what_is_wrong(tmp_path: Path, change: dict[str, object], message: str) -> None:
    path = tmp_path / "point.yaml"
    path.write_text(yaml.safe_dump(asdict(POINT) | change))
    with pytest.raises(ValueError, match=re.escape(message)) as raised:
        read_operating_point(path)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize("text", ["", "a line", "[1", "\x00", "cut: 0.2"])
def test_what_is_no_operating_point_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "point.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"point\.yaml is not an operating point"):
        read_operating_point(path)


def test_a_missing_file_comes_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"write one with `python -m rsna_det\.evaluate`"):
        read_operating_point(tmp_path / "point.yaml")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"point\.yaml could not be written"):
        write_operating_point(POINT, tmp_path / "nowhere" / "point.yaml", evidence={})


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("size_rule", ["none", "percentile", "rescale"])
def test_detections_are_those_of_the_slow_chain(seed: int, size_rule: str) -> None:
    generator = np.random.default_rng(seed)
    counts = [6, 0, 9]
    corners = generator.integers(0, 8, (15, 2)) * 4.0
    boxes = np.concatenate([corners, corners + generator.integers(1, 5, (15, 2)) * 4.0], axis=1).tolist()
    scores = [score for n in counts for score in sorted((generator.integers(1, 16, n) / 16).tolist(), reverse=True)]
    rows = CandidateRows(
        boxes=torch.tensor(boxes), scores=torch.tensor(scores), offsets=torch.tensor([0, *np.cumsum(counts)])
    )
    point = replace(POINT, nms_iou=0.3, cut=0.25, size_rule=size_rule)
    start = 0
    for count, found in zip(counts, image_detections(rows, point), strict=True):
        own, own_scores = boxes[start : start + count], scores[start : start + count]
        kept = detections(boxes=own, scores=own_scores, nms_iou=0.3, relative_cut=0.5, cut=0.25)
        factor = Fraction(7, 8) if size_rule == "rescale" else Fraction(1)
        expected = [[float(v) for v in box] for box in resized([own[i] for i in kept], factor)]
        assert found.boxes.tolist() == expected
        assert found.scores.tolist() == [own_scores[i] for i in kept]
        start += count


def test_rescaling_keeps_centres() -> None:
    rows = CandidateRows(
        boxes=torch.tensor([[10.0, 20, 50, 100]]), scores=torch.tensor([0.5]), offsets=torch.tensor([0, 1])
    )
    (found,) = image_detections(rows, replace(POINT, size_rule="rescale"))
    # Centre (30, 60); 40 x 80 becomes 35 x 70.
    assert found.boxes.tolist() == [[12.5, 25, 47.5, 95]]
