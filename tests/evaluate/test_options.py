"""What evaluate refuses before it reads a table."""

from pathlib import Path

import pytest

from rsna_det.config.check import check_config
from rsna_det.config.compose import compose_config
from rsna_det.config.console import set_up
from rsna_det.config.options import EvaluateOptions
from rsna_det.errors import ConfigError
from rsna_det.evaluate.__main__ import check
from rsna_det.runs.agreement import named_runs


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["nms_ious=[0.1,2]"], r"nms_ious\[1\] is 2.*; expected 0 to 1"),
        (["nms_ious=[-1]"], r"nms_ious\[0\] is -1"),
        (["cut=2"], "cut is 2.*; expected 0 to 1"),
        (["nms_iou=nan"], "nms_iou is nan"),
        (["splits=0"], "splits is 0; expected 1 or more"),
        (["resamples=0"], "resamples is 0; expected 1 or more"),
        (["seed=-1"], "seed is -1; expected 0 or more"),
        (["ids=a", "labels=b"], "labels, ids would have no effect with runs=: leave them out"),
        (["ids=a"], "ids would have no effect with runs=: leave it out"),
    ],
)
def test_values_out_of_range_are_named(overrides: list[str], message: str, tmp_path: Path) -> None:
    set_up()
    config = compose_config("evaluate", ["runs=some", f"out={tmp_path}", *overrides])
    config.run_dir = str(tmp_path)
    with pytest.raises(ConfigError, match=message):
        check(check_config(config, EvaluateOptions))


@pytest.mark.parametrize("named", ["", []])
def test_no_run_is_refused(named: str | list[str]) -> None:
    with pytest.raises(ConfigError, match="runs is empty: name one or more run folders"):
        named_runs(named)
