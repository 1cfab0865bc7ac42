"""``python -m benchmarks``: its parts, rows and exit status, without the quarter of an hour."""

import json
from pathlib import Path

import pytest
import torch
from rich.table import Table

from benchmarks import __main__ as command
from benchmarks import ensembles, measure, parts
from benchmarks.parts import Part, broken_bounds, detector_row

FINEST = "P2-P7, width 256"


def quick(monkeypatch: pytest.MonkeyPatch, **broken: list[str]) -> list[tuple[str, int]]:
    """Parts that measure nothing; returns the list of those that were asked for, with their repeats."""
    asked: list[tuple[str, int]] = []

    def part(name: str, repeats: int) -> Part:
        asked.append((name, repeats))
        return Part(table=Table(title=name), rows=[{"what": name, "ours_s": 1.0}], broken=broken.get(name, []))

    for name in command.PARTS:
        monkeypatch.setitem(command.PARTS, name, lambda repeats, name=name: part(name, repeats))  # type: ignore[arg-type]
    return asked


def test_without_names_all_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = quick(monkeypatch)
    assert command.main([]) == 0
    assert asked == [(name, 5) for name in ("detector", "data", "inference", "metric", "thresholds")]


def test_a_part_alone_and_its_rows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = quick(monkeypatch, metric=["metric in under a second"])
    file = tmp_path / "rows.json"
    assert command.main(["metric", "data", "--json", str(file), "--repeats", "2"]) == 1
    assert asked == [("metric", 2), ("data", 2)]
    assert json.loads(file.read_text()) == [
        {"part": "metric", "what": "metric", "ours_s": 1.0},
        {"part": "data", "what": "data", "ours_s": 1.0},
    ]
    assert "bounds that do not hold: ['metric in under a second']" in capsys.readouterr().out
    assert command.main(["data"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["detectors"], r"no such parts: ['detectors']; choose among ['detector', 'data'"),
        (["--repeats", "0"], "--repeats is 0; expected 1 or more"),
        (["--json", "nowhere/rows.json"], "--json is nowhere/rows.json; its folder does not exist"),
    ],
)
def test_wrong_arguments(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        command.main(arguments)
    assert message in " ".join(capsys.readouterr().err.split())


def test_rows_of_the_detector() -> None:
    row = detector_row("training step", FINEST, seconds=[6.0, 10.0, 9.0], mebibytes=[80.0, 100.0, 110.0])
    assert row == {
        "what": "training step",
        "variant": FINEST,
        "ours_s": 6.0,
        "peer_s": 10.0,
        "ratio": 0.6,
        "ours_mib": 80.0,
        "peer_mib": 100.0,
        "memory_ratio": 0.8,
        "dense_s": 9.0,
        "dense_mib": 110.0,
    }


@pytest.mark.parametrize(
    ("what", "variant", "ours", "memory", "names"),
    [
        ("training step", FINEST, 6.5, 85.0, []),
        ("training step", FINEST, 6.6, 85.0, ["ratio 0.660 above 0.65"]),
        ("training step", FINEST, 6.5, 86.0, ["memory_ratio 0.860 above 0.85"]),
        ("prediction", FINEST, 6.6, 100.0, ["ratio 0.660 above 0.65"]),
        ("training step", "without_p2", 8.5, 100.0, []),
        ("prediction", "small", 8.6, 104.0, ["ratio 0.860 above 0.85", "memory_ratio 1.040 above 1.03"]),
    ],
)
def test_bounds_of_the_detector(what: str, variant: str, ours: float, memory: float, names: list[str]) -> None:
    row = detector_row(what, variant, seconds=[ours, 10.0, 10.0], mebibytes=[memory, 100.0, 100.0])
    assert broken_bounds([row]) == [f"{variant}: {what}, {name}" for name in names]


def touch(mebibytes: int) -> measure.Work:
    """Work that holds so much memory at once, for a while."""
    return lambda: torch.ones(mebibytes * 2**18).sum()


def test_peak_memory_is_that_of_the_work_alone() -> None:
    """The libraries, of some 400 MiB, are not the work's."""
    small, large = (measure.peak_mebibytes(touch, size, processes=1) for size in (50, 150))
    assert 45 < small < 80
    assert 95 < large - small < 105


def test_the_three_columns_of_the_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each work is measured under its own heading."""
    times = {"our_step": 1.0, "their_step": 2.0, "our_dense_step": 3.0}
    times |= {"our_prediction": 0.1, "their_prediction": 0.2, "our_dense_prediction": 0.3, "our_multi_task_step": 4.0}
    for name in times:
        monkeypatch.setattr(parts.detector, name, lambda variant, name=name: name)  # noqa: ARG005
    monkeypatch.setattr(parts, "alternating_medians", lambda works, repeats: [times[work] * repeats for work in works])
    monkeypatch.setattr(parts, "peak_mebibytes", lambda make, variant: 100 * times[make(variant)])
    part = parts.of_detector(2)
    steps = [row for row in part.rows if row["what"] == "training step"]
    assert [row["variant"] for row in steps] == [FINEST, "without_p2", "small"]
    assert steps[0] == detector_row("training step", FINEST, seconds=[2.0, 4.0, 6.0], mebibytes=[100.0, 200.0, 300.0])
    assert part.broken == []


def test_members_outputs_are_worth_combining() -> None:
    outputs = ensembles.trained_outputs(3)
    ours, everywhere = ensembles.both_tables(outputs, score_floor=ensembles.SCORE_FLOOR), ensembles.everywhere(outputs)
    for few, all_anchors in zip(ours, everywhere, strict=True):
        assert 200 < int(few.counts_before_cap) < 1000
        for name in ("boxes", "scores", "mask", "counts_before_cap"):
            assert torch.equal(getattr(few, name), getattr(all_anchors, name)), name
    assert not torch.equal(ours[0].boxes, ours[1].boxes)
