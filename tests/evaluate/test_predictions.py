"""A prediction's tables: what is read as it stands, and what is refused as damaged."""

from pathlib import Path

import pandas as pd
import pytest

from rsna_det.errors import DataError, MissingFileError
from rsna_det.evaluate.prediction_report import coverage, sections
from rsna_det.evaluate.predictions import _read_csv
from rsna_det.evaluation.operating_point import OperatingPoint

POINT = OperatingPoint(image_size=512, score_floor=0.02, max_candidates=3000, nms_iou=0.1, relative_cut=0.5, cut=0.15)
RULES = pd.DataFrame(
    {
        "size_rule": ["none", "rescale"],
        "method": ["mean", "re-scaled"],
        "map": [0.25, 0.24],
        "map_low": [0.21, 0.2],
        "map_high": [0.29, 0.28],
        "more_than_mean": [0.0, -0.01],
        "more_low": [0.0, -0.0156],
        "more_high": [0.0, -0.002],
    }
)


def test_an_image_may_be_called_anything(tmp_path: Path) -> None:
    (tmp_path / "files.csv").write_text("image_id,width,height\n007,64,64\nNA,,\n")
    table = _read_csv(tmp_path / "files.csv", text=["image_id"], numbers=["width", "height"])
    assert table["image_id"].tolist() == ["007", "NA"]
    assert table["width"].isna().tolist() == [False, True]


@pytest.mark.parametrize("text", ["", "image_id\n1\n", "width\n5\n", "image_id,width\n1,wide\n", None])
def test_a_damaged_table_is_named_with_the_remedy(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "files.csv").write_text(text)
    error, problem = (MissingFileError, "there is no such file") if text is None else (DataError, r"is damaged \(")
    with pytest.raises(error, match=rf"files\.csv:? {problem}.*predict again with overwrite=true"):
        _read_csv(tmp_path / "files.csv", text=["image_id"], numbers=["width"])


def test_the_report_counts_what_is_scored() -> None:
    files = pd.DataFrame({"width": [64.0, None, 64.0]}, index=pd.Index(["a", "b", "c"], name="image_id"))
    text = coverage(files, pd.Series(["a", "b"]), listed=False)
    assert text.startswith("2 of 3 predicted images have labels and are scored. 1 have no labels and are left out: c.")
    assert text.endswith(
        "1 of the scored images could not be read at prediction and count as images without detections."
    )


def test_the_report_shows_rounded_numbers_with_their_intervals() -> None:
    members = pd.DataFrame({"path": ["a.ckpt", "b.ckpt"], "images_trained_on": [0.0, 12.0]})
    shown = sections(members, POINT, RULES, units="true patients")
    assert "| none | mean | 0.250 (0.210 to 0.290) | - |" in shown["Size rules"]
    assert "| rescale | re-scaled | 0.240 (0.200 to 0.280) | -0.010 (-0.016 to -0.002) |" in shown["Size rules"]
    assert "| candidates per image, at most | 3,000 |" in shown["Operating point"]
    assert "**1 of 2 members were trained on images of this prediction" in shown["Members"]
