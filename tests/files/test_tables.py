"""Tables as CSV files and in Markdown."""

import csv
import html
import re
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from rsna_det.errors import DataError, StorageError
from rsna_det.files.tables import (
    csv_text,
    markdown_code,
    markdown_table,
    markdown_text,
    plain_text,
    read_csv_text,
    write_csv,
    write_csv_rows,
)

TABLE = pd.DataFrame({"fold": ["0", "total"], "mean_map": [0.25, float("nan")], "images": [3.0, 1e6]})


def test_a_csv_has_the_columns_and_no_index(tmp_path: Path) -> None:
    write_csv(TABLE, tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == "fold,mean_map,images\n0,0.25,3.0\ntotal,,1000000.0\n"


def test_a_csv_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"nowhere/a\.csv could not be written .*free some space"):
        write_csv(TABLE, tmp_path / "nowhere" / "a.csv")
    assert list(tmp_path.iterdir()) == []


def test_markdown_has_four_places_and_a_dash_for_what_is_missing() -> None:
    assert markdown_table(TABLE) == (
        "| fold | mean map | images |\n| --- | --- | --- |\n| 0 | 0.2500 | 3 |\n| total | - | 1e+06 |"
    )


FORMULAS = [
    "=cmd|' /C calc'!A0",
    "+1+1",
    "-2+3",
    "@SUM(1)",
    "\t=1",
    "\r=1",
    "\n=1",
    " =1",
    "=",
    "-",
    "--1",
    "\uff1d1",
    "'=1",
    "''=1",
    "'\t1",
    "-1e",
    '=HYPERLINK("http://localhost","x")',
]
PLAIN = ["a", "'", "'a", "''", "a=1", "", "007", "NA", "-1", "+1.5e3", "-.5", "nan", "1,2", 'a"b', "a\nb", "é", "1-2"]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_is_text_and_comes_back_as_it_was(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    for write in (
        lambda: write_csv_rows(path, ["image_id", "n"], [[text, 1]]),
        lambda: write_csv(pd.DataFrame({"image_id": [text], "n": [1]}), path),
        lambda: write_csv_rows(path, ["image_id", "n"], [[Path(text) if "//" not in text else text, 1]]),
    ):
        write()
        with path.open(newline="") as file:
            cells = list(csv.reader(file))
        assert cells == [["image_id", "n"], [f"'{text}", "1"]]
        assert read_csv_text(path, needed=["image_id"], remedy="")["image_id"].tolist() == [text]


@pytest.mark.parametrize("text", PLAIN)
def test_other_text_and_numbers_stay_as_they_are(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    write_csv_rows(path, ["image_id", "more"], [[text, -1], ["x", -0.5]])
    with path.open(newline="") as file:
        assert list(csv.reader(file)) == [["image_id", "more"], [text, "-1"], ["x", "-0.5"]]
    found = read_csv_text(path, needed=["image_id"], remedy="")
    assert found.to_dict("list") == {"image_id": [text, "x"], "more": ["-1", "-0.5"]}


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=12))
def test_every_text_comes_back(text: str) -> None:
    written = csv_text(text)
    assert isinstance(written, str)
    assert plain_text(written) == text


def test_numbers_and_headings(tmp_path: Path) -> None:
    write_csv(pd.DataFrame({"=a": [-1.5, 2.0], "b": ["=1", None]}), tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == "'=a,b\n-1.5,'=1\n2.0,\n"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "no column image_id"),
        (b"a,b\n1,2\n", "no column image_id"),
        (b"image_id,image_id\n1,2\n", "a column occurs twice"),
        (b"image_id,b\n1\n", "row 1 has 1 cells; the header has 2"),
        (b"image_id\n\xff\xfe\n", "not a CSV in UTF-8"),
        (b'image_id\n"a', "not a CSV in UTF-8"),
        (b"image_id\n" + b"a" * 200_000, "field larger"),
    ],
)
def test_a_damaged_csv_is_named(content: bytes, problem: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.csv is damaged \(.*{problem}.*\): do this"):
        read_csv_text(tmp_path / "a.csv", needed=["image_id"], remedy="do this")


HOSTILE_MARKS = [
    "a|b",
    "a\nb",
    "a\r\n\r\n# title",
    "`code`",
    "[text](http://localhost)",
    "![picture](http://localhost/x.png)",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "http://localhost/a",
    "www.localhost.com",
    "<http://localhost>",
    "**bold**",
    "\\|",
    "\\",
    "a\u2028b",
    "&lt;b&gt;",
    "[x]: http://localhost",
    "mailto:a@localhost",
    "`|`",
]


@pytest.mark.parametrize("text", HOSTILE_MARKS)
def test_a_name_in_markdown_is_text(text: str) -> None:
    """As a renderer with links, tables and bare addresses shows it: one cell, in which nothing but text is."""
    table = markdown_table(pd.DataFrame({"name": [text], "more": ["end"]}))
    renderer = MarkdownIt("gfm-like", {"html": True})
    shown = renderer.render(table)
    cells = re.findall(r"<td>(.*?)</td>", shown)
    flat = " ".join(text.replace("\u2028", " ").split())
    assert [html.unescape(cell) for cell in cells] == [flat, "end"]
    assert not re.search(r"<(a|img|script|code|strong|h1)\b", shown)
    heading = renderer.render(f"in a line: {markdown_text(text)}")
    assert html.unescape(re.sub(r"</?p>", "", heading)).strip() == f"in a line: {flat}"
    code = renderer.render(markdown_code(text))
    assert html.unescape(re.fullmatch(r"<p><code>(.*)</code></p>\n", code)[1]) == flat  # type: ignore[index]
