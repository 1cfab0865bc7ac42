"""Whose operating point an ensemble predicts at, and what is warned of."""

from dataclasses import replace
from pathlib import Path

import pytest

from rsna_det.errors import ConfigError, InvalidValueError, MissingFileError
from rsna_det.evaluation.operating_point import OPERATING_POINT, OperatingPoint, write_operating_point
from rsna_det.predict.ensemble_point import choose_point
from rsna_det.predict.members import find_members
from tests.checkpoints import write_checkpoint

POINT = OperatingPoint(
    image_size=64, score_floor=0.025, max_candidates=300, nms_iou=0.1, relative_cut=0.5, cut=0.2, epoch=3
)


def write_point(point: OperatingPoint, checkpoint: Path) -> None:
    write_operating_point(point, checkpoint.with_name(OPERATING_POINT), evidence={"images": 7})


@pytest.fixture
def pair(tmp_path: Path) -> list[str]:
    """Two runs with a checkpoint each."""
    return [str(write_checkpoint(tmp_path / run / "checkpoints" / "best.ckpt")) for run in ("a", "b")]


def test_that_beside_the_checkpoints_holds(pair: list[str]) -> None:
    for path in pair:
        write_point(POINT, Path(path))
    assert choose_point(find_members(pair), None) == POINT


def test_without_any_that_of_training_holds_with_a_warning(pair: list[str], caplog: pytest.LogCaptureFixture) -> None:
    point = choose_point(find_members(pair), None)
    assert (point.cut, point.nms_iou, point.size_rule, point.epoch) == (0.15, 0.05, "none", None)
    assert "using the training defaults" in caplog.text


def test_those_of_two_runs_may_differ_in_their_epoch_alone(pair: list[str]) -> None:
    write_point(POINT, Path(pair[0]))
    write_point(replace(POINT, epoch=2), Path(pair[1]))
    assert choose_point(find_members(pair), None) == replace(POINT, epoch=None)
    write_point(replace(POINT, cut=0.3), Path(pair[1]))
    with pytest.raises(ConfigError, match=r"cut is 0.2 and 0.3.*`operating_point=<file>`"):
        choose_point(find_members(pair), None)


def test_a_file_that_is_named_wins(pair: list[str], tmp_path: Path) -> None:
    write_point(replace(POINT, cut=0.3), Path(pair[1]))
    write_operating_point(POINT, tmp_path / "mine.yaml", evidence={})
    assert choose_point(find_members(pair), tmp_path / "mine.yaml") == POINT
    with pytest.raises(MissingFileError, match=r"other\.yaml"):
        choose_point(find_members(pair), tmp_path / "other.yaml")


def test_one_of_another_epoch_or_of_some_runs_only_gets_a_warning(
    pair: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    write_point(replace(POINT, epoch=9), Path(pair[0]))
    choose_point(find_members(pair), None)
    assert "was chosen at epoch 9, the members are from epoch 3" in caplog.text
    assert "only 1 of 2 runs" in caplog.text


def test_one_for_another_image_size_is_refused(pair: list[str]) -> None:
    write_point(replace(POINT, image_size=512), Path(pair[0]))
    with pytest.raises(ConfigError, match="for images of 512 px"):
        choose_point(find_members(pair[:1]), None)


def test_trainings_that_differ_need_one(tmp_path: Path) -> None:
    paths = [write_checkpoint(tmp_path / "a.ckpt"), write_checkpoint(tmp_path / "b.ckpt", "decoding.cut=0.3")]
    with pytest.raises(ConfigError, match=r"cut is 0.15 and 0.3.*operating_point=<file>"):
        choose_point(find_members([str(path) for path in paths]), None)


def test_a_point_may_be_given_as_it_is_and_changed(pair: list[str]) -> None:
    members = find_members(pair)
    assert choose_point(members, POINT, {"cut": 0.4, "nms_iou": None}) == replace(POINT, cut=0.4)
    with pytest.raises(InvalidValueError, match="below the score floor"):
        choose_point(members, POINT, {"cut": 0.01})
    with pytest.raises(ConfigError, match="the operating point is for images of 128 px"):
        choose_point(members, replace(POINT, image_size=128))


def test_a_threshold_of_single_models_gets_a_warning_in_an_ensemble(
    pair: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    members = find_members(pair)
    choose_point(members[:1], POINT)
    choose_point(members, replace(POINT, epoch=None))
    choose_point(members, POINT, {"cut": 0.4})
    assert "Averaging shifts scores" not in caplog.text
    choose_point(members, POINT)
    assert "the score threshold 0.2 was chosen on single models and is applied to the mean of 2" in caplog.text
    assert "a threshold tuned on single models does not transfer" in caplog.text
    assert "evaluate predictions=" in caplog.text


def test_percentiles_of_one_member_get_a_warning(pair: list[str], caplog: pytest.LogCaptureFixture) -> None:
    members = find_members(pair)
    choose_point(members, POINT, {"size_rule": "percentile"})
    assert "has no effect" not in caplog.text
    choose_point(members[:1], POINT, {"size_rule": "percentile"})
    assert "size_rule=percentile has no effect with one member" in caplog.text
