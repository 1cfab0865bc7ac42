"""Tables for people: what is rounded how, beside which interval, under which heading."""

import math

import pandas as pd
import pytest

from rsna_det.drawing.tables import Style, duration, number, p_value, readable_table, with_interval


def test_a_value_stands_with_its_interval_under_a_heading_in_words() -> None:
    frame = pd.DataFrame(
        {"variant": ["a", "b"], "map": [0.2461, 0.25], "map_low": [0.2, 0.21], "map_high": [0.3, 0.31], "p_value": 0.5}
    )
    table = readable_table(frame, Style(headings={"map": "mAP"}, formats={"p_value": p_value}))
    assert table.headings == ("variant", "mAP (95% interval)", "p value")
    assert table.numeric == (False, True, True)
    assert table.rows == (("a", "0.246 (0.200 to 0.300)", "0.50"), ("b", "0.250 (0.210 to 0.310)", "0.50"))


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([26684, 7], ("26,684", "7")),
        # Whole numbers in a column that also has an empty cell.
        ([3.0, math.nan], ("3", "-")),
        ([0.24612, 0.3], ("0.246", "0.300")),
        ([1.0995, 0.0004], ("1.099", "0.000")),
        ([65.13, 8.26], ("65.1", "8.3")),
        ([1299.4, 325.2], ("1,299", "325")),
        ([-0.0004, 0.5], ("0.000", "0.500")),
        ([True, False], ("yes", "no")),
        (["text", ""], ("text", "-")),
        ([None, "x"], ("-", "x")),
    ],
)
def test_numbers_are_rounded_to_what_the_column_holds(values: list[object], shown: tuple[str, str]) -> None:
    assert [row[0] for row in readable_table(pd.DataFrame({"x": values})).rows] == list(shown)


def test_columns_without_values_are_left_out() -> None:
    table = readable_table(pd.DataFrame({"a": [1], "b": [math.nan], "c": [None]}))
    assert table.headings == ("a",)
    assert readable_table(pd.DataFrame({"a": []})).rows == ()


def test_a_bound_without_its_value_is_a_column_of_its_own() -> None:
    assert readable_table(pd.DataFrame({"score_low": [0.1]})).headings == ("score low",)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0009995, "0.0010"), (0.0451, "0.045"), (0.1339, "0.13"), (0.2, "0.20"), (1.0, "1.00"), (0.00002, "< 0.0001")],
)
def test_p_values_have_two_significant_digits(value: float, shown: str) -> None:
    assert p_value(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.42, "0.4 s"),
        (59.4, "59 s"),
        (59.7, "1 min 0 s"),
        (310, "5 min 10 s"),
        (3599.8, "1 h 0 min"),
        (12000, "3 h 20 min"),
    ],
)
def test_durations_have_two_units(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_no_value_is_a_dash() -> None:
    assert number(math.nan) == p_value(math.nan) == duration(math.nan) == "-"
    assert with_interval(0.5, math.nan, math.nan) == "0.500"
