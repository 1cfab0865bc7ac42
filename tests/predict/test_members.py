"""Checkpoints as members: which are found, and which are refused."""

from pathlib import Path

import pandas as pd
import pytest
import torch

from rsna_det.errors import ConfigError, DataError, MissingFileError
from rsna_det.evaluation.tables import truth_table, write_table
from rsna_det.predict.members import find_members, load_model, read_member, trained_on
from tests.checkpoints import module_of, write_checkpoint


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


def test_the_same_epoch_under_two_names_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("best", "epoch_03"):
        write_checkpoint(tmp_path / f"{name}.ckpt")
    find_members(str(tmp_path / "*.ckpt"))
    assert "checkpoints of the same run and epoch, which therefore counts twice" in caplog.text


def test_what_matches_nothing_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"checkpoints=.*\*\.ckpt: no file or folder matches"):
        find_members(str(tmp_path / "*.ckpt"))
    with pytest.raises(MissingFileError, match=r"checkpoints=.*best\.ckpt: there is no such"):
        find_members([str(tmp_path / "best.ckpt")])
    with pytest.raises(ConfigError, match="checkpoints is empty"):
        find_members([])
    with pytest.raises(ConfigError, match=r"is a folder: name the checkpoints in it"):
        find_members(str(tmp_path))


def test_files_of_other_kinds_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "best.ckpt"
    path.write_text("text")
    with pytest.raises(DataError, match=r"best\.ckpt is not a checkpoint, or it is truncated"):
        read_member(path)
    torch.save({"epoch": 1, "state_dict": {}}, path)
    with pytest.raises(DataError, match=r"best\.ckpt is not a checkpoint that rsna_det\.train wrote"):
        read_member(path)
    write_checkpoint(path, model={"_target_": "os.system", "levels": [2], "command": "true"})
    with pytest.raises(DataError, match=r"best\.ckpt.*it would call os\.system"):
        read_member(path)
    write_checkpoint(path, model=dict(module_of().description["model"]) | {"width": 32})
    with pytest.raises(DataError, match=r"weights of .*best\.ckpt do not fit"):
        load_model(read_member(path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": "64"}, r"image_size is '64': expected a whole number"),
        ({"fold": None}, r"fold is None: expected a whole number"),
        ({"more": 1}, r"it takes no 'more'"),
        ({"model": {"_target_": "rsna_det.models.retinanet.MultiTaskRetinaNet", "levels": "2"}}, r"levels is '2'"),
        ({"decoding": {"_target_": "rsna_det.boxes.decoding.DecodingSettings", "cut": 2}}, r"decoding\.cut is 2: "),
    ],
)
def test_a_description_is_read_strictly(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "best.ckpt", **changes)
    with pytest.raises(DataError, match=rf"best\.ckpt is not a checkpoint that rsna_det\.train wrote \(.*{message}"):
        read_member(path)


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


def test_what_a_member_was_trained_on(pair: list[str], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    member = find_members(pair[:1])[0]
    assert trained_on(member, ["x"]) is None
    assert "cannot tell whether" in caplog.text
    images = pd.DataFrame({"image_id": ["v", "t", "u", "o"], "true_patient": "p", "fold": [0, 1, 2, -1]})
    images = images.assign(category=1, width=64, height=64, boxes=[torch.zeros(0, 4).numpy()] * 4)
    write_table(truth_table(images, val_fold=0), Path(pair[0]).parent.parent / "predictions" / "truth.parquet")
    assert trained_on(member, ["v", "u", "t", "o", "new"]) == ["t", "u"]


def test_a_further_name_of_a_checkpoint_counts_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    far, runs = tmp_path / "far", tmp_path / "runs"
    far.mkdir()
    runs.mkdir()
    path = write_checkpoint(far / "a.ckpt")
    (far / "b.ckpt").symlink_to(path)
    (runs / "linked").symlink_to(far)
    assert [member.path for member in find_members(str(runs / "**" / "*.ckpt"))] == [runs / "linked" / "a.ckpt"]
    message = f"{runs}/linked/b.ckpt is the same file as {runs}/linked/a.ckpt, which counts once"
    assert caplog.messages == [message]
    (far / "c.ckpt").symlink_to(far / "gone.ckpt")
    with pytest.raises(MissingFileError, match=r"c\.ckpt: there is no such file"):
        find_members(str(far / "*.ckpt"))
