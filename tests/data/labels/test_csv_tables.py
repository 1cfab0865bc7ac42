"""Tables of text and the error that lists everything."""

import pickle
from pathlib import Path

import pandas as pd
import pytest

from rsna_det.data.labels.csv_tables import LabelError, LabelProblem, check_ids, collect, read_table


def save(path: Path, text: str, *, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def test_cells_stay_text_and_rows_are_the_editor_s(tmp_path: Path) -> None:
    path = save(tmp_path / "t.csv", 'a,b\r\n007,\r\n\r\n"x,\ny",NaN\r\n1e3,0\r\n\r\n')
    assert list(read_table(path, ["a"])) == ["a", "row"]
    table = read_table(path, ["a"], optional=["b", "c"])
    assert list(table) == ["a", "b", "row"]
    assert table["a"].tolist() == ["007", "x,\ny", "1e3"]
    assert table["b"].tolist() == ["", "NaN", "0"]
    # Line 3 is blank; the quoted cell goes over lines 4 and 5 and counts as where it ends.
    assert table["row"].tolist() == [2, 5, 6]


def test_a_byte_order_mark_is_no_part_of_the_header(tmp_path: Path) -> None:
    assert read_table(save(tmp_path / "t.csv", "a\n1\n", encoding="utf-8-sig"), ["a"])["a"].tolist() == ["1"]


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("", ["the file is empty"]),
        ("\n\n", ["the file is empty"]),
        ("a,b\n", ["a header and no rows"]),
        ("a,c\n1,2\n", ["column 'b' is missing; found a, c"]),
        ("c\n1\n", ["column 'a' is missing; found c", "column 'b' is missing; found c"]),
        ("a,b,a\n1,2,3\n", ["column 'a' occurs twice; found a, b, a"]),
        ("a,b\n1\n1,2\n1,2,3\n", ["1 cells; the header has 2", "3 cells; the header has 2"]),
        ('a,b\n1,"2\n3,4\n', ["not a CSV in UTF-8 (unexpected end of data)"]),
    ],
)
def test_files_that_are_no_such_table(tmp_path: Path, text: str, problems: list[str]) -> None:
    path = save(tmp_path / "t.csv", text)
    with pytest.raises(LabelError) as caught:
        read_table(path, ["a", "b"])
    assert [found.problem for found in caught.value.problems] == problems


def test_another_encoding_is_named(tmp_path: Path) -> None:
    path = save(tmp_path / "t.csv", "a\né\n", encoding="latin-1")
    with pytest.raises(LabelError, match=r"t\.csv: not a CSV in UTF-8"):
        read_table(path, ["a"])


def test_a_missing_file_says_what_was_wanted(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.csv: there is no such file; expected .* columns a, b$"):
        read_table(tmp_path / "gone.csv", ["a", "b"])


@pytest.mark.parametrize("bad", ["", ".", "..", ".hidden", "a/b", "a\\b", "a b", "a\n", "é", "../../etc/passwd", "a:b"])
def test_unsafe_ids(bad: str) -> None:
    table = pd.DataFrame({"patientId": ["0004cfab-14fd", "a.b_C-9", bad], "row": [2, 3, 4]})
    (found,) = check_ids(Path("t.csv"), table)
    assert found.row == 4
    assert repr(bad) in found.problem


def test_the_message_is_cut_and_the_problems_are_not() -> None:
    error = LabelError([LabelProblem(file=Path("t.csv"), row=row, problem="is odd") for row in range(2, 62)])
    lines = str(error).splitlines()
    assert lines[0].startswith("60 problems in the label tables")
    assert lines[1] == "  t.csv, row 2: is odd"
    assert lines[-1] == "  ... and 10 more"
    assert len(lines) == 1 + 50 + 1
    assert len(error.problems) == 60


def test_the_error_survives_a_worker_process() -> None:
    error = LabelError([LabelProblem(file=Path("t.csv"), row=None, problem="is odd")])
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - what multiprocessing does with an exception
    assert again.problems == error.problems
    assert str(again) == str(error)


def test_collect_gathers_problems_of_several_files(tmp_path: Path) -> None:
    problems: list[LabelProblem] = []
    for name in ("a.csv", "b.csv"):
        assert collect(lambda name=name: read_table(save(tmp_path / name, ""), ["a"]), problems) is None
    assert [found.file.name for found in problems] == ["a.csv", "b.csv"]
