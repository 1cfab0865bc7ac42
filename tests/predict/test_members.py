"""Checkpoints as members: which are found, which are refused, and whose operating point holds."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from rsna_det.errors import ConfigError
from rsna_det.evaluation.operating_point import OPERATING_POINT, OperatingPoint, write_operating_point
from rsna_det.evaluation.tables import truth_table, write_table
from rsna_det.predict.members import find_members, load_model, operating_point, read_member, trained_on
from tests.checkpoints import module_of, write_checkpoint

POINT = OperatingPoint(
    image_size=64, score_floor=0.025, max_candidates=300, nms_iou=0.1, relative_cut=0.5, cut=0.2, epoch=3
)


def write_point(point: OperatingPoint, checkpoint: Path) -> None:
    write_operating_point(point, checkpoint.with_name(OPERATING_POINT), evidence={"images": 7})


@pytest.fixture
def pair(tmp_path: Path) -> list[str]:
    """Two runs with a checkpoint each."""
    return [str(write_checkpoint(tmp_path / run / "checkpoints" / "best.ckpt")) for run in ("a", "b")]


def test_a_member_is_what_was_trained(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "best.ckpt", "data.fold=2")
    member = read_member(path)
    assert (member.fold, member.epoch, member.image_size, member.levels) == (2, 3, 64, (2, 3, 4, 5, 6, 7))
    assert member.name == "heavy_aug_norot"
    model = load_model(member)
    trained = module_of("data.fold=2").model.eval()
    images = torch.randint(0, 256, (2, 1, 64, 64), generator=torch.Generator().manual_seed(0)).byte()
    with torch.inference_mode():
        assert torch.equal(model(images).box_logits, trained(images).box_logits)
    assert not model.training


def test_paths_and_globs_are_sorted_and_each_counts_once(tmp_path: Path) -> None:
    for epoch in (5, 6, 7):
        write_checkpoint(tmp_path / "run" / f"epoch_{epoch:02d}.ckpt", epoch=epoch)
    glob = str(tmp_path / "*" / "epoch_0[67].ckpt")
    assert [m.epoch for m in find_members(glob)] == [6, 7]
    places = [glob, str(tmp_path / "run" / "epoch_05.ckpt"), str(tmp_path / "run" / "epoch_06.ckpt")]
    assert [m.epoch for m in find_members(places)] == [5, 6, 7]


def test_the_same_epoch_under_two_names_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("best", "epoch_03"):
        write_checkpoint(tmp_path / f"{name}.ckpt")
    find_members(str(tmp_path / "*.ckpt"))
    assert "the same run and epoch: it counts twice" in caplog.text


def test_what_matches_nothing_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"checkpoints=.*\*\.ckpt: no file or folder matches"):
        find_members(str(tmp_path / "*.ckpt"))
    with pytest.raises(FileNotFoundError, match=r"checkpoints=.*best\.ckpt: there is no such"):
        find_members([str(tmp_path / "best.ckpt")])
    with pytest.raises(ConfigError, match="checkpoints is empty"):
        find_members([])
    with pytest.raises(ValueError, match=r"is a folder: name the checkpoints in it"):
        find_members(str(tmp_path))


def test_files_of_other_kinds_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "best.ckpt"
    path.write_text("text")
    with pytest.raises(OSError, match=r"best\.ckpt is damaged"):
        read_member(path)
    torch.save({"epoch": 1, "state_dict": {}}, path)
    with pytest.raises(ValueError, match=r"best\.ckpt is not a checkpoint that rsna_det\.train wrote"):
        read_member(path)
    write_checkpoint(path, model={"_target_": "os.system", "levels": [2], "command": "true"})
    with pytest.raises(ValueError, match=r"best\.ckpt.*it would call os\.system"):
        read_member(path)
    write_checkpoint(path, model=dict(module_of().description["model"]) | {"width": 32})
    with pytest.raises(ValueError, match=r"weights of .*best\.ckpt do not fit"):
        load_model(read_member(path))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.image_size=128", "image_size is 64 in the first and 128"),
        ("model=without_p2", "model.levels is "),
        ("decoding.score_floor=0.01", "decoding.score_floor is 0.025 in the first and 0.01"),
        ("decoding.max_candidates=100", "decoding.max_candidates is 300 in the first and 100"),
    ],
)
def test_members_that_cannot_be_combined(override: str, message: str, tmp_path: Path) -> None:
    paths = [write_checkpoint(tmp_path / "a.ckpt"), write_checkpoint(tmp_path / "b.ckpt", override, epoch=4)]
    with pytest.raises(ConfigError, match=rf"a\.ckpt and .*b\.ckpt cannot be combined: {message}"):
        find_members([str(path) for path in paths])


class TestOperatingPoint:
    def test_that_beside_the_checkpoints_holds(self, pair: list[str]) -> None:
        for path in pair:
            write_point(POINT, Path(path))
        assert operating_point(find_members(pair), None) == POINT

    def test_without_any_the_trainings_own_holds_and_that_is_told(
        self, pair: list[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        point = operating_point(find_members(pair), None)
        assert (point.cut, point.nms_iou, point.size_rule, point.epoch) == (0.15, 0.05, "none", None)
        assert "nothing was tuned" in caplog.text

    def test_those_of_two_runs_may_differ_in_their_epoch_alone(self, pair: list[str]) -> None:
        write_point(POINT, Path(pair[0]))
        write_point(replace(POINT, epoch=2), Path(pair[1]))
        assert operating_point(find_members(pair), None) == replace(POINT, epoch=None)
        write_point(replace(POINT, cut=0.3), Path(pair[1]))
        with pytest.raises(ConfigError, match=r"cut is 0.2 and 0.3.*`operating_point=<file>`"):
            operating_point(find_members(pair), None)

    def test_a_file_that_is_named_wins(self, pair: list[str], tmp_path: Path) -> None:
        write_point(replace(POINT, cut=0.3), Path(pair[1]))
        write_operating_point(POINT, tmp_path / "mine.yaml", evidence={})
        assert operating_point(find_members(pair), tmp_path / "mine.yaml") == POINT
        with pytest.raises(FileNotFoundError, match=r"other\.yaml"):
            operating_point(find_members(pair), tmp_path / "other.yaml")

    def test_one_of_another_epoch_or_of_some_runs_only_is_told(
        self, pair: list[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        write_point(replace(POINT, epoch=9), Path(pair[0]))
        operating_point(find_members(pair), None)
        assert "was chosen at epoch 9, and the members are of 3" in caplog.text
        assert "only 1 of 2 runs" in caplog.text

    def test_one_for_another_image_size_is_refused(self, pair: list[str]) -> None:
        write_point(replace(POINT, image_size=512), Path(pair[0]))
        with pytest.raises(ConfigError, match="for images of 512 px"):
            operating_point(find_members(pair[:1]), None)

    def test_trainings_that_differ_need_one(self, tmp_path: Path) -> None:
        paths = [write_checkpoint(tmp_path / "a.ckpt"), write_checkpoint(tmp_path / "b.ckpt", "decoding.cut=0.3")]
        with pytest.raises(ConfigError, match=r"cut is 0.15 and 0.3.*operating_point=<file>"):
            operating_point(find_members([str(path) for path in paths]), None)


def test_what_a_member_was_trained_on(pair: list[str], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    member = find_members(pair[:1])[0]
    assert trained_on(member, ["x"]) is None
    assert "cannot be known" in caplog.text
    images = pd.DataFrame({"image_id": ["v", "t", "u", "o"], "true_patient": "p", "fold": [0, 1, 2, -1]})
    images = images.assign(category=1, width=64, height=64, boxes=[torch.zeros(0, 4).numpy()] * 4)
    write_table(truth_table(images, val_fold=0), Path(pair[0]).parent.parent / "predictions" / "truth.parquet")
    assert trained_on(member, ["v", "u", "t", "o", "new"]) == ["t", "u"]
