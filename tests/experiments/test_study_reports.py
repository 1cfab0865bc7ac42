"""Studies to tables: the numbers are those of the runs, and an unfinished study is refused, with its runs listed."""

import html
import importlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf
from PIL import Image

import experiments.report
from experiments.reporting.report import main
from experiments.reporting.run_table import comparability_caveats, options_by_variant, run_table
from experiments.reporting.runs import compared, finished_variants, variant_name
from experiments.reporting.study_report import StudyReport
from rsna_det.config.check import check_config
from rsna_det.config.compose import compose_config
from rsna_det.config.console import set_up
from rsna_det.config.options import TrainOptions
from rsna_det.errors import ConfigError, DataError, MissingFileError
from rsna_det.studies.plan import plan_study, study_names
from tests.short_runs import environment, short_run

EXPERIMENTS = Path(str(experiments.__file__)).parent
MODULES = sorted(path.stem for path in EXPERIMENTS.glob("[a-z]*.py") if "REPORT = " in path.read_text())


def options_from(overrides: Sequence[str]) -> TrainOptions:
    return check_config(compose_config("train", [*overrides, "run_dir=."]), TrainOptions)


def report_of(module: str) -> StudyReport:
    found: StudyReport = importlib.import_module(f"experiments.{module}").REPORT
    return found


@pytest.fixture(scope="module")
def studies(synthetic_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one finished study of two variants on two folds."""
    folder = tmp_path_factory.mktemp("studies")
    options = short_run(synthetic_root, "data.num_folds=2", f"paths.studies={folder}")
    command = [sys.executable, "-m", "rsna_det.train", "-m", "+sweep=negatives", *options]
    subprocess.run(command, check=True, capture_output=True, env=environment())
    return folder


@pytest.mark.parametrize("module", MODULES)
def test_every_module_names_what_its_study_varies(module: str, synthetic_root: Path) -> None:
    report = report_of(module)
    assert report.study == module
    set_up()
    study = plan_study([f"sweep={module}", f"data.root={synthetic_root}", "data.fold=0"])
    values = {variant_name(options_from(run.overrides), report.option) for run in study.runs}
    assert len({report.label(value) for value in values}) == len(values)
    assert len(values) > 1
    assert report.baseline in values
    assert set(report.paper) <= values


def test_every_study_has_its_module() -> None:
    # Table 4's is an ensemble: `rsna_det.predict` makes it and `rsna_det.evaluate` scores it.
    assert set(study_names()) - {"ensemble"} == set(MODULES)


def test_a_study_becomes_a_table(studies: Path) -> None:
    report = report_of("negatives")
    variants = finished_variants(report, [f"paths.studies={studies}"])
    assert {variant.name: {seed: len(f) for seed, f in variant.seeds.items()} for variant in variants} == {
        "True": {0: 2},
        "False": {0: 2},
    }
    result = compared(report, variants)
    rows, sentences = result.table.set_index("variant"), result.sentences
    assert rows.loc["all images", "difference"] == 0
    assert rows.loc["only images with boxes", "difference"] == pytest.approx(
        rows.loc["only images with boxes", "map"] - rows.loc["all images", "map"], abs=1e-12
    )
    for _, row in rows.iterrows():
        assert row["map_low"] <= row["map"] <= row["map_high"]
        # A mean over all images lies between those over its parts.
        folds = sorted([row["fold 0"], row["fold 1"]])
        assert folds[0] <= row["map"] <= folds[1]
    assert rows["map"].max() > 0
    first = r"(Significantly different|No significant difference) from all images \(Holm-adjusted p < 0\.05\)"
    assert re.match(first, html.unescape(sentences))
    assert "Training noise is not included: estimating it takes 3 seeds per variant, and there is 1." in sentences
    assert "the mean over 20 random splits in both directions" in sentences


def test_the_command_writes_page_table_and_figure(studies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["experiments.negatives", f"paths.studies={studies}"])
    main(report_of("negatives"))
    folder = studies / "negatives" / "report"
    assert pd.read_csv(folder / "negatives.csv")["variant"].tolist() == ["all images", "only images with boxes"]
    assert "| variant | mAP (95% interval) |" in (folder / "negatives.md").read_text()
    pixels = np.asarray(Image.open(folder / "negatives.png").convert("RGB"))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20
    page = (folder / "negatives.html").read_text()
    # Each of the four runs has a row, and each picture shown is there once.
    runs = sorted(path.parent.name for path in (studies / "negatives").glob("*/result.json"))
    assert len(runs) == 4
    assert all(f">{run}</td>" in page for run in runs)
    assert "data.train_negatives" in page
    assert page.count("data:image/jpeg") == page.count("<image id=") > 0
    assert "could not be read" not in page
    assert "Validation mAP over epochs" in page
    assert "<h3>Where the variants differ most</h3>" in page


def test_all_started_studies_get_their_pages(studies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(studies / "negatives", tmp_path / "negatives")
    shutil.rmtree(tmp_path / "negatives" / "report", ignore_errors=True)
    # Another study that was started and has no run yet.
    (tmp_path / "p2" / "launches").mkdir(parents=True)
    record = {
        "started": "2026-01-01T00:00:00+00:00",
        "host": "here",
        "pid": 1,
        "overrides": ["sweep=p2"],
        "cells": [{"id": "0123456789", "overrides": ["a=1"], "epochs": 1}],
    }
    (tmp_path / "p2" / "launches" / "2026-01-01.json").write_text(json.dumps(record))
    monkeypatch.setattr(sys, "argv", ["experiments.report", f"paths.studies={tmp_path}"])
    with pytest.raises(SystemExit, match="no report of p2"):
        experiments.report.main()
    assert (tmp_path / "negatives" / "report" / "negatives.html").is_file()


def test_a_damaged_study_does_not_keep_others_from_their_pages(
    studies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(studies / "negatives", tmp_path / "negatives")
    (tmp_path / "p2" / "launches").mkdir(parents=True)
    (tmp_path / "p2" / "launches" / "2026-01-01.json").write_text('{"overrides": ["sweep')
    monkeypatch.setattr(sys, "argv", ["experiments.report", f"paths.studies={tmp_path}"])
    with pytest.raises(SystemExit, match="no report of p2"):
        experiments.report.main()
    assert (tmp_path / "negatives" / "report" / "negatives.html").is_file()
    assert "2026-01-01.json is damaged" in caplog.text
    assert "2026-01-01.json is damaged" in (tmp_path / "report.log").read_text()
    result = next((tmp_path / "negatives").glob("*/result.json"))
    result.write_text("{")
    with pytest.raises(DataError, match=rf"{result.parent.name}/result\.json is damaged"):
        finished_variants(report_of("negatives"), [f"paths.studies={tmp_path}"])


def test_a_bug_in_one_study_does_not_keep_others_from_their_pages(
    studies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(studies / "negatives", tmp_path / "negatives")
    write = experiments.report.write_study

    def fails_on_p2(report: StudyReport, places: Sequence[str]) -> Path:
        if report.study == "p2":
            raise ZeroDivisionError("a bug")
        return write(report, places)

    monkeypatch.setattr(experiments.report, "write_study", fails_on_p2)
    monkeypatch.setattr(sys, "argv", ["experiments.report", "p2", "negatives", f"paths.studies={tmp_path}"])
    with pytest.raises(SystemExit, match="no report of p2"):
        experiments.report.main()
    assert (tmp_path / "negatives" / "report" / "negatives.html").is_file()
    log = (tmp_path / "report.log").read_text()
    assert "Traceback" in log
    assert "in fails_on_p2" in log


def test_a_variant_is_called_by_what_it_is() -> None:
    assert report_of("dropout").label("0.5") == "dropout 0.5"
    assert report_of("dropout").label("0") == "no dropout"
    assert report_of("p2").label("[3, 4, 5, 6, 7]") == "without P2"
    # Also a variant that only a command line made.
    assert report_of("p2").label("[4, 5, 6, 7]") == "pyramid levels [4, 5, 6, 7]"
    assert report_of("encoders").label("convnext_tiny") == "convnext_tiny"


def test_a_report_takes_only_where_studies_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for idle in ("seed=5", "negatives"):
        monkeypatch.setattr(sys, "argv", ["experiments.negatives", idle])
        with pytest.raises(
            SystemExit, match=f"{idle} would have no effect on a report, which takes paths.studies=<folder>"
        ):
            main(report_of("negatives"))
    monkeypatch.setattr(sys, "argv", ["experiments.negatives", "--help"])
    with pytest.raises(SystemExit, match="0"):
        main(report_of("negatives"))
    assert "usage: python -m experiments.negatives" in capsys.readouterr().out


def test_only_what_is_named_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments, message in (
        (["negativ"], "there is no study negativ; the closest: negatives"),
        ([], "no study was started in"),
    ):
        monkeypatch.setattr(sys, "argv", ["experiments.report", f"paths.studies={tmp_path}", *arguments])
        with pytest.raises(SystemExit, match=message):
            experiments.report.main()


def test_runs_that_may_not_be_comparable_have_caveats(studies: Path, tmp_path: Path) -> None:
    shutil.copytree(studies / "negatives", tmp_path / "negatives")
    report, places = report_of("negatives"), [f"paths.studies={tmp_path}"]
    variants = finished_variants(report, places)
    path = variants[0].seeds[0][0].provenance_file
    git = json.loads(path.read_text())["starts"][-1]["git"]
    assert [caveat for caveat in comparability_caveats(variants) if "uncommitted" not in caveat] == []
    record = json.loads(path.read_text())
    record["data"]["folds"] = "other"
    record["starts"][-1]["packages"]["torch"] = "0.1"
    record["starts"][-1]["git"] = {"commit": "f" * 40, "dirty": True}
    path.write_text(json.dumps(record))
    caveats = " ".join(comparability_caveats(variants))
    assert "different data or folds" in caveats
    assert "several versions of torch: 0.1" in caveats
    assert "ffffffffff+" in caveats
    assert f"of {path.parent.name} had uncommitted" in caveats or "of every run had uncommitted" in caveats
    table = run_table(report, variants)
    assert table["commit"].tolist()[0] == "ffffffffff+"
    assert git is None or table["commit"].tolist()[1].startswith(git["commit"][:10])
    # One epoch, in all its starts.
    assert table["epochs"].tolist() == [1] * 4
    options = options_by_variant(report, variants).set_index("option")
    assert options.loc["data.train_negatives"].tolist() == ["True", "False"]
    assert "data.fold" not in options.index
    for damage in ("{", "{}", '{"starts": [{}], "data": null}'):
        path.write_text(damage)
        with pytest.raises(DataError, match=r"provenance\.json is damaged .*take it from a copy of the run"):
            comparability_caveats(variants)
    for damage in ('{"seed": 0, "configuration": "config.yaml", "starts": [], "data": null}', None):
        path.unlink() if damage is None else path.write_text(damage)
        with pytest.raises(MissingFileError, match=r"provenance\.json is missing or empty.*train it again"):
            comparability_caveats(variants)
    description = variants[0].seeds[0][0].description
    for damage in ("options: 3", "a: [", "options: {}"):
        description.write_text(damage)
        with pytest.raises(DataError, match=r"cell\.yaml (is damaged|does not describe a run) \(.*\): take the file"):
            options_by_variant(report, variants)


def test_an_unfinished_study_is_refused_with_its_runs_listed(studies: Path, tmp_path: Path) -> None:
    shutil.copytree(studies / "negatives", tmp_path / "negatives")
    runs = sorted(path.parent for path in (tmp_path / "negatives").glob("*/result.json"))
    (runs[0] / "result.json").unlink()
    shutil.rmtree(runs[1])
    with pytest.raises(ConfigError, match="2 of the 4 runs of negatives are not finished") as raised:
        finished_variants(report_of("negatives"), [f"paths.studies={tmp_path}"])
    assert f"{runs[0].name} interrupted" in str(raised.value)
    assert f"{runs[1].name} missing" in str(raised.value)


def test_runs_that_differ_in_another_option_are_not_mixed(studies: Path, tmp_path: Path) -> None:
    shutil.copytree(studies / "negatives", tmp_path / "negatives")
    for path in (tmp_path / "negatives").glob("*/.hydra/config.yaml"):
        config = OmegaConf.load(path)
        config.data.fold = 0
        OmegaConf.save(config, path)
    with pytest.raises(ConfigError, match=r"have the same data.train_negatives, seed and fold"):
        finished_variants(report_of("negatives"), [f"paths.studies={tmp_path}"])


def test_a_study_that_was_never_started_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"never started in .*: start it with `python -m rsna_det\.train"):
        finished_variants(report_of("p2"), [f"paths.studies={tmp_path}"])
