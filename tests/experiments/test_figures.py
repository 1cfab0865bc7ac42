"""Modules that need no training: what their tables count, that their pictures show something, what they refuse."""

import csv
import importlib
import json
import math
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import experiments
from experiments import augmented_examples, challenge, edge_third_rotation, ensemble_diagram, samples
from experiments.reporting.command import FigureReport, figure_options, main
from experiments.reporting.runs import finished_variants, score_seed
from experiments.reporting.study_report import Part
from rsna_det.config.console import set_up
from rsna_det.errors import ConfigError, DataError
from rsna_det.evaluation.operating_point import OPERATING_POINT, OperatingPoint, write_operating_point
from rsna_det.structures import Category

EXPERIMENTS = Path(str(experiments.__file__)).parent
MODULES = sorted(path.stem for path in EXPERIMENTS.glob("[a-z]*.py") if "FIGURE = " in path.read_text())


def parts_of(figure: FigureReport, folder: Path, *overrides: str) -> list[Part]:
    set_up()
    folder.mkdir(exist_ok=True)
    return list(figure.parts(figure_options(figure, [f"paths.studies={folder}", *overrides]), folder))


def picture(part: Part) -> np.ndarray:
    assert part.figure is not None
    return np.asarray(Image.open(part.figure).convert("RGB"))


def counted(root: Path) -> dict[str, dict[str, int]]:
    """Images, rows and boxes of each class, row by row of the challenge's tables."""
    with (root / "stage_2_detailed_class_info.csv").open() as file:
        classes = {row["patientId"]: row["class"] for row in csv.DictReader(file)}
    found = {name: {"images": 0, "rows": 0, "boxes": 0} for name in set(classes.values())}
    for name in classes.values():
        found[name]["images"] += 1
    with (root / "stage_2_train_labels.csv").open() as file:
        for row in csv.DictReader(file):
            found[classes[row["patientId"]]]["rows"] += 1
            found[classes[row["patientId"]]]["boxes"] += row["x"] != ""
    return found


def test_every_module_that_needs_no_training_is_known() -> None:
    assert set(MODULES) == {"augmented_examples", "challenge", "edge_third_rotation", "ensemble_diagram", "samples"}
    for name in MODULES:
        figure: FigureReport = importlib.import_module(f"experiments.{name}").FIGURE
        assert figure.name == name


def test_samples_counts_and_draws(synthetic_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = [f"data.root={synthetic_root}", f"data.patients_csv={synthetic_root / 'patients.csv'}"]
    monkeypatch.setattr(sys, "argv", ["experiments.samples", *options, f"paths.studies={tmp_path}", "radiographs=2"])
    main(samples.FIGURE)
    report = tmp_path / "samples" / "report"
    table = pd.read_csv(report / "samples_table_1.csv").set_index("class")
    expected = counted(synthetic_root)
    for name, numbers in expected.items():
        row = table.loc[name]
        assert [row["images"], row["rows of the table of boxes"], row["boxes"]] == [
            numbers["images"],
            numbers["rows"],
            numbers["boxes"],
        ]
    assert table.loc["all", "images"] == 24
    patients = pd.read_csv(synthetic_root / "patients.csv")
    assert table.loc["all", "true patients"] == patients["true_patient"].nunique()
    # The paper's numbers are the challenge's, and stand beside ours.
    assert table["paper, patients"].tolist() == [9555, 11821, 8851, 26684]
    assert "differ from the paper's" in (report / "samples.md").read_text()
    shown = pd.read_csv(report / "samples.csv")
    assert shown["class"].tolist() == [
        c.label for c in (Category.NORMAL, Category.ABNORMAL, Category.OPACITY) for _ in range(2)
    ]
    pixels = np.asarray(Image.open(report / "samples.png").convert("RGB"))
    rows = np.split(pixels, 3)
    # Boxes are green, and only the last row has them.
    green = [int(((row[..., 1] > 200) & (row[..., 0] < 90)).sum()) for row in rows]
    assert green[0] == green[1] == 0 < green[2]
    assert all(len(np.unique(row)) > 50 for row in rows)


def test_label_tables_suffice_for_table_1(synthetic_root: Path, tmp_path: Path) -> None:
    tables = tmp_path / "tables"
    tables.mkdir()
    for path in synthetic_root.glob("*.csv"):
        shutil.copy(path, tables)
    (part,) = parts_of(samples.FIGURE, tmp_path / "out", f"data.root={tables}")
    assert part.table is not None
    assert part.table["true patients"].isna().all()
    assert "figure 1 is left out" in part.text
    (tables / "stage_2_train_labels.csv").unlink()
    with pytest.raises(FileNotFoundError, match="stage_2_train_labels"):
        parts_of(samples.FIGURE, tmp_path / "out", f"data.root={tables}")


@pytest.mark.parametrize(
    ("figure", "overrides", "message"),
    [
        (samples.FIGURE, [], r"data\.root is not set"),
        (
            samples.FIGURE,
            ["data.root=x", "evaluation=y"],
            "evaluation=y would have no effect on samples",
        ),
        (challenge.FIGURE, ["data.root=x"], "data.root=x would have no effect on challenge, which takes evaluation"),
        (samples.FIGURE, ["data.root=x", "radiographs=many"], "radiographs is 'many'"),
        (samples.FIGURE, ["data.root=x", "radiograph=2"], "radiographs"),
    ],
)
def test_options_without_effect_are_refused(figure: FigureReport, overrides: list[str], message: str) -> None:
    set_up()
    with pytest.raises(ConfigError, match=message):
        figure_options(figure, overrides)


def test_augmented_examples_has_a_column_a_set(synthetic_root: Path, tmp_path: Path) -> None:
    assert list(augmented_examples.augmentation_sets()) == [
        "no_aug", "light_aug", "heavy_aug", "heavy_aug_customrot", "heavy_aug_norot"
    ]  # fmt: skip
    options = (f"data.root={synthetic_root}", "data.image_size=64", "radiographs=2")
    (part,) = parts_of(augmented_examples.FIGURE, tmp_path, *options)
    pixels = picture(part)
    side = pixels.shape[1] // 5
    tiles = [[row[-side:, i * side : (i + 1) * side] for i in range(5)] for row in np.split(pixels, 2)]
    for row in tiles:
        assert all(len(np.unique(tile)) > 50 for tile in row)
        assert all((row[0] != other).any() for other in row[1:])
    with pytest.raises(ValueError, match="radiographs is 0; expected 1 or more"):
        parts_of(augmented_examples.FIGURE, tmp_path, *options[:2], "radiographs=0")


def grown(width: float, height: float, degrees: float, *, thirds: bool) -> float:
    """Growth of the area by trigonometry: half the new width is the farthest point's x, half the new height its y."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    # Seen from the box's centre, the points at 1/3 and 2/3 of an edge are 1/3 of half its length from its middle.
    along, across = (1.0, 1 / 3) if thirds else (1.0, 1.0)
    points = [(along, across), (across, along)]
    wide = max(width * a * cosine + height * b * sine for a, b in points)
    high = max(width * a * sine + height * b * cosine for a, b in points)
    return wide * high / (width * height)


def test_growth_by_angle_is_that_of_trigonometry(tmp_path: Path) -> None:
    (part,) = parts_of(edge_third_rotation.FIGURE, tmp_path)
    assert part.table is not None
    assert part.table["angle (degrees)"].tolist()[:2] == [0, 1]
    for row in part.table.to_dict("records"):
        angle = row["angle (degrees)"]
        for name, (width, height) in edge_third_rotation.SHAPES.items():
            corners, thirds = grown(width, height, angle, thirds=False), grown(width, height, angle, thirds=True)
            assert row[f"{name}, around the corners"] == pytest.approx(corners, abs=1e-6)
            assert row[f"{name}, around the thirds of the edges"] == pytest.approx(thirds, abs=1e-6)
            assert 1 <= thirds <= corners
    # A square at 6 degrees: (cos + sin)^2 = 1 + sin(12 degrees).
    assert grown(1, 1, 6, thirds=False) == pytest.approx(1 + math.sin(math.radians(12)))
    pixels = picture(part)
    red = (pixels[..., 0] > 180) & (pixels[..., 1] < 80)
    assert red.sum() > 1000


def test_growth_over_the_boxes_of_the_data(synthetic_root: Path, tmp_path: Path) -> None:
    (part,) = parts_of(edge_third_rotation.FIGURE, tmp_path, f"data.root={synthetic_root}")
    assert part.table is not None
    labels = pd.read_csv(synthetic_root / "stage_2_train_labels.csv").dropna()
    six = part.table.set_index("angle (degrees)").loc[6]
    for thirds, where in ((False, "corners"), (True, "thirds of the edges")):
        expected = np.mean([grown(w, h, 6, thirds=thirds) for w, h in labels[["width", "height"]].to_numpy()])
        assert six[f"mean over the boxes of synthetic, around the {where}"] == pytest.approx(expected, abs=1e-5)


def test_the_diagram_has_the_predictions_numbers(tmp_path: Path) -> None:
    source = tmp_path / "prediction"
    source.mkdir()
    rows = [(f"{fold}_{epoch}.ckpt", "mine", fold, epoch, 0) for fold in (0, 1, 2) for epoch in (3, 5)]
    columns = ["path", "name", "fold", "epoch", "images_trained_on"]
    pd.DataFrame(rows, columns=columns).to_csv(source / "members.csv", index=False)
    point = OperatingPoint(
        image_size=96,
        score_floor=0.03,
        max_candidates=77,
        nms_iou=0.11,
        relative_cut=0.4,
        cut=0.21,
        size_rule="rescale",
    )
    write_operating_point(point, source / OPERATING_POINT, evidence={})
    (part,) = parts_of(ensemble_diagram.FIGURE, tmp_path / "a", f"predictions={source}")
    assert part.table is not None
    values = dict(part.table.itertuples(index=False))
    assert (values["experiment"], values["folds"], values["checkpoints"]) == ("mine", "3", "6")
    assert (values["score threshold"], values["NMS IoU"], values["size rule"]) == ("0.21", "0.11", "rescale")
    drawn = picture(part)
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 50
    (source / "members.csv").write_text("path,name,fold\na.ckpt,mine,0\n")
    with pytest.raises(DataError, match=r"members\.csv is damaged \(it has no column"):
        parts_of(ensemble_diagram.FIGURE, tmp_path / "a", f"predictions={source}")
    (source / "members.csv").unlink()
    with pytest.raises(ConfigError, match=r"is not the folder of a prediction: it lacks"):
        parts_of(ensemble_diagram.FIGURE, tmp_path / "a", f"predictions={source}")


def test_the_diagram_without_a_prediction_is_that_of_the_study(tmp_path: Path) -> None:
    found = ensemble_diagram._of_study(figure_options(ensemble_diagram.FIGURE, [f"paths.studies={tmp_path}"]))
    assert found.name == "heavy_aug_customrot"
    assert {fold: len(epochs) for fold, epochs in found.checkpoints.items()} == dict.fromkeys(range(4), 16)
    assert (found.point.nms_iou, found.point.cut, found.point.image_size) == (0.05, 0.15, 512)
    assert "has not been started" in found.source


@pytest.fixture
def study(trained_folds: list[Path], tmp_path: Path) -> Path:
    """A folder of studies in which `ensemble` is finished: two folds of two epochs."""
    runs = []
    for fold, folder in enumerate(trained_folds):
        shutil.copytree(folder, tmp_path / "ensemble" / f"run{fold}", ignore=shutil.ignore_patterns("*.ckpt", "images"))
        runs.append({"id": f"run{fold}", "overrides": [f"data.fold={fold}", "trainer.max_epochs=2"], "epochs": 2})
    launches = tmp_path / "ensemble" / "launches"
    launches.mkdir()
    record = {"started": "2026-01-01T00:00:00+00:00", "host": "here", "pid": 1, "overrides": [], "cells": runs}
    (launches / "1.json").write_text(json.dumps(record))
    return tmp_path


def evaluation(folder: Path) -> Path:
    """What `rsna_det.evaluate predictions=...` leaves, as far as table 4 reads it."""
    folder.mkdir()
    rules = [("none", "mean", 0.25), ("percentile", "percentile", 0.26), ("rescale", "re-scaled", 0.24)]
    rows = [
        {"size_rule": rule, "method": method, "map": value, "map_low": value - 0.01, "map_high": value + 0.01,
         "more_than_mean": value - 0.25, "more_low": value - 0.255, "more_high": value - 0.245}
        for rule, method, value in rules
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(folder / "size_rules.csv", index=False)
    (folder / "report.json").write_text(json.dumps({"operating_point": {"rescale_factor": 0.875}, "images": 1000}))
    return folder


def test_table_4_has_the_papers_rows_and_ours(study: Path, tmp_path: Path) -> None:
    source = evaluation(tmp_path / "evaluation")
    (part,) = parts_of(challenge.FIGURE, study, f"evaluation={source}")
    assert part.table is not None
    rows = part.table.set_index("what")
    assert rows["map"].tolist()[:6] == [0.25475, 0.24781, 0.23908, 0.25, 0.26, 0.24]
    assert rows.loc["ensemble, boxes rescaled to 87.5%", "difference"] == pytest.approx(-0.01)
    assert rows.loc["ensemble, mean box sizes", "images"] == "1,000 evaluated"
    (variant,) = finished_variants(challenge.STUDY, [f"paths.studies={study}"])
    own = score_seed(variant.seeds[0]).contributions
    single = rows.iloc[-1]
    assert single["map"] == pytest.approx(own.sums.sum() / own.counts.sum())
    assert single["map_low"] <= single["map"] <= single["map_high"]


def test_table_4_says_what_is_missing_and_how_to_make_it(study: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"evaluation is not set(.|\n)*rsna_det\.predict(.|\n)*rsna_det\.evaluate"):
        parts_of(challenge.FIGURE, study)
    source = evaluation(tmp_path / "evaluation")
    for damage in ("", "method,map\nmean,0.25\n", "method,map,map_low,map_high,more_than_mean,more_low,more_high\n"):
        (source / "size_rules.csv").write_text(damage)
        with pytest.raises(DataError, match=r"size_rules\.csv .*: evaluate again"):
            parts_of(challenge.FIGURE, study, f"evaluation={source}")
    (source / "size_rules.csv").unlink()
    with pytest.raises(
        ConfigError,
        match=r"has no size_rules\.csv: it is not the folder of (.|\n)*predictions=",
    ):
        parts_of(challenge.FIGURE, study, f"evaluation={source}")
    (study / "ensemble" / "run1" / "result.json").unlink()
    with pytest.raises(ConfigError, match=r"1 of the 2 runs of ensemble are not finished(.|\n)*run1 (.|\n)*\+sweep"):
        parts_of(challenge.FIGURE, study, f"evaluation={source}")
    with pytest.raises(ConfigError, match=r"never started in(.|\n)*\+sweep=ensemble data\.root"):
        parts_of(challenge.FIGURE, tmp_path / "elsewhere", f"evaluation={source}")
