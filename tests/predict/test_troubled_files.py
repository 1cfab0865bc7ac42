"""A folder of everything that goes wrong with files: every name is an image or a named problem."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from pydicom import dcmread
from pydicom.uid import RLELossless

from rsna_det.config.check import check_config
from rsna_det.config.compose import compose_config
from rsna_det.config.options import PredictOptions
from rsna_det.errors import ConfigError
from rsna_det.predict.job import predict_files
from rsna_det.predict.resumable import Result
from tests.checkpoints import write_checkpoint
from tests.data.dicom.files import smooth, write
from tests.short_runs import TRAINING_WARNINGS

pytestmark = TRAINING_WARNINGS


@pytest.fixture(scope="module")
def member(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    return write_checkpoint(tmp_path_factory.mktemp("run") / "best.ckpt")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "clinic"
    (root / "far").mkdir(parents=True)
    (tmp_path / "linked").mkdir()
    write(root / "sound.dcm", smooth())
    (root / "link.dcm").symlink_to(root / "sound.dcm")
    write(root / "blank.dcm", np.full((24, 40), 9, dtype=np.uint8))
    bomb = dcmread(write(root / "bomb.dcm", smooth(), syntax=RLELossless))
    bomb.Rows = bomb.Columns = 65535
    bomb.save_as(root / "bomb.dcm")
    write(root / os.fsdecode(b"r\xf6ntgen.dcm"), smooth())
    (root / os.fsdecode(b"besch\xe4digt.dcm")).write_bytes(b"no DICOM")
    (root / "gone").symlink_to(tmp_path / "nowhere")
    (root / "circle.dcm").symlink_to(root / "circle.dcm")
    write(tmp_path / "linked" / "inside.dcm", smooth())
    (root / "way").symlink_to(tmp_path / "linked")
    return root


def predict(member: Path, images: Path, out: Path, *options: str) -> Result:
    given = [f"checkpoints={member}", f"images={images}", f"out={out}", "accelerator=cpu", *options]
    return predict_files(check_config(compose_config("predict", given), PredictOptions))


def test_every_name_is_an_image_or_a_named_problem(member: Path, folder: Path, tmp_path: Path) -> None:
    result = predict(member, folder, tmp_path / "out")
    assert sorted(result.found) == [
        "besch_digt", "blank", "bomb", "circle", "gone", "inside", "link", "r_ntgen", "sound"
    ]  # fmt: skip
    expected = {
        "besch_digt": "not a DICOM file",
        "blank": "all of its pixels would be shown as the same grey level, 9",
        "bomb": "an image of 65535 rows and 65535 columns",
        "circle": "it cannot be read (Too many levels of symbolic links)",
        "gone": "a link to a file that is not there",
    }
    assert result.problems.keys() == expected.keys()
    for image_id, problem in expected.items():
        assert f": {problem}" in result.problems[image_id]
    assert result.undrawn == {}
    with (tmp_path / "out" / "files.csv").open(encoding="utf-8", newline="") as stream:
        rows = {row["image_id"]: row for row in csv.DictReader(stream)}
    assert rows["r_ntgen"]["path"] == f"{folder}/r\\udcf6ntgen.dcm"
    assert (rows["link"]["width"], rows["link"]["height"]) == ("40", "24")
    assert rows["link"]["boxes"] == rows["sound"]["boxes"] == rows["inside"]["boxes"]
    with (tmp_path / "out" / "problems.csv").open(encoding="utf-8", newline="") as stream:
        assert sorted(row["image_id"] for row in csv.DictReader(stream)) == sorted(result.problems)
    drawn = sorted(path.stem for path in (tmp_path / "out" / "pictures").iterdir())
    assert drawn == ["inside", "link", "r_ntgen", "sound"]


def test_what_is_accepted_is_predicted(member: Path, folder: Path, tmp_path: Path) -> None:
    result = predict(member, folder / "blank.dcm", tmp_path / "out", "reading.accept=[one_grey_level]")
    assert (list(result.found), result.problems) == (["blank"], {})
    result = predict(member, folder / "sound.dcm", tmp_path / "limited", "reading.max_pixels=1000")
    assert "more than 1000 pixels" in result.problems["sound"]
    result = predict(member, folder / "sound.dcm", tmp_path / "small", "reading.max_bytes=1000")
    assert "at most 1000 are read" in result.problems["sound"]
    with pytest.raises(ConfigError, match=r"reading\.accept"):
        predict(member, folder, tmp_path / "other", "reading.accept=[everything]")
