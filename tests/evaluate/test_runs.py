"""From the tables of runs to an operating point: the scores are those that training logged, and nothing bad passes."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml
from omegaconf import OmegaConf
from PIL import Image

from rsna_det.config.check import check_config
from rsna_det.config.compose import compose_config
from rsna_det.config.console import set_up
from rsna_det.config.options import EvaluateOptions
from rsna_det.errors import ConfigError
from rsna_det.evaluate import runs as score_runs
from rsna_det.evaluate.__main__ import evaluate
from rsna_det.evaluation.metric import challenge_map
from rsna_det.evaluation.operating_point import image_detections, read_operating_point
from rsna_det.evaluation.operating_report import units_in_words
from rsna_det.evaluation.out_of_fold import open_runs
from rsna_det.evaluation.tables import IMAGES_SCHEMA, TRUTH_SCHEMA, RunTables, read_table, write_table
from tests.short_runs import TRAINING_WARNINGS

pytestmark = TRAINING_WARNINGS


@pytest.fixture(scope="module")
def folds(trained_folds: list[Path], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The folders of two runs, beside whose checkpoints evaluation may write."""
    root = tmp_path_factory.mktemp("runs")
    return [Path(shutil.copytree(folder, root / folder.name)) for folder in trained_folds]


@pytest.fixture
def copied(folds: list[Path], tmp_path: Path) -> list[Path]:
    """The same runs, to be spoilt."""
    return [Path(shutil.copytree(folder, tmp_path / folder.name)) for folder in folds]


def evaluated(out: Path, *overrides: str) -> dict[str, float]:
    """Evaluate into a folder; a handful of resamples is enough for a test."""
    set_up()
    config = compose_config("evaluate", [f"out={out}", "splits=3", "resamples=50", *overrides])
    out.mkdir(exist_ok=True)
    config.run_dir = str(out)
    return evaluate(check_config(config, EvaluateOptions))


def runs(folders: list[Path]) -> str:
    return f"runs=[{','.join(map(str, folders))}]"


def test_the_grid_holds_what_training_logged(folds: list[Path], tmp_path: Path) -> None:
    for folder in folds:
        evaluated(tmp_path, f"runs={folder}")
        grid = pd.read_csv(tmp_path / "grid.csv")
        grid = grid[grid["nms_iou"] == 0.7].set_index(["epoch", "cut"])["map"]
        for row in pd.read_csv(folder / "metrics.csv").itertuples():
            logged = dict(zip(("map", "best", "cut"), _logged(folder, row.epoch), strict=True))
            assert grid[row.epoch, 0.005] == pytest.approx(logged["map"], abs=1e-6)
            in_training = grid[row.epoch][[cut for cut in grid[row.epoch].index if cut != 0.005]]
            assert in_training.max() == pytest.approx(logged["best"], abs=1e-6)
            assert in_training[round(logged["cut"], 6)] == pytest.approx(logged["best"], abs=1e-6)


def _logged(folder: Path, epoch: int) -> list[float]:
    metrics = pd.read_csv(folder / "metrics.csv").set_index("epoch")
    return metrics.loc[epoch, ["val/map", "val/map_best", "val/cut_best"]].tolist()


def test_folds_are_joined_into_one_evaluation(folds: list[Path], tmp_path: Path) -> None:
    numbers = evaluated(tmp_path, runs(folds))
    point = read_operating_point(tmp_path / "operating_point.yaml")
    tables = [RunTables(folder / "predictions") for folder in folds]
    joined = open_runs(tables)
    assert len(joined.images) == sum(len(open_runs([own]).images) for own in tables) == numbers["images"]
    found = image_detections(joined.candidates(point.epoch or 0), point)
    assert numbers["map"] == pytest.approx(challenge_map(detections=found, truths=joined.truths), abs=1e-12)
    grid = pd.read_csv(tmp_path / "grid.csv")
    assert numbers["map"] == pytest.approx(grid.loc[grid["nms_iou"] == 0.7, "map"].max(), abs=1e-12)
    assert numbers["optimistic_map"] == pytest.approx(numbers["map"], abs=1e-12)
    assert numbers["map_low"] <= numbers["map"] <= numbers["map_high"]


def test_the_honest_figure_is_the_mean_of_the_other_halves(folds: list[Path], tmp_path: Path) -> None:
    numbers = evaluated(tmp_path, runs(folds))
    selection = pd.read_csv(tmp_path / "selection.csv")
    assert len(selection) == 6
    assert numbers["honest_map"] == pytest.approx(np.average(selection["score"], weights=selection["images"]))
    assert selection["score_chosen_on"].mean() >= numbers["honest_map"]
    text = (tmp_path / "report.md").read_text()
    assert f"| {numbers['honest_map']:.3f} |" in text
    assert "honest: chosen on one half" in text
    assert "optimistic: chosen and measured" in text
    assert f"| {numbers['map']:.3f} ({numbers['map_low']:.3f} to {numbers['map_high']:.3f}) |" in text


def test_the_operating_point_lies_beside_every_checkpoint(folds: list[Path], tmp_path: Path) -> None:
    evaluated(tmp_path, runs(folds))
    texts = {(place / "operating_point.yaml").read_text() for place in (tmp_path, *(f / "checkpoints" for f in folds))}
    assert len(texts) == 1
    evidence = yaml.safe_load(texts.pop())["evidence"]
    assert evidence["runs"] == [str(folder) for folder in folds]
    assert evidence["optimistic_map"] == pytest.approx(
        json.loads((tmp_path / "report.json").read_text())["map"], abs=1e-6
    )


def test_it_is_not_written_beside_the_checkpoints_where_that_is_not_wanted(copied: list[Path], tmp_path: Path) -> None:
    beside = copied[0] / "checkpoints" / "operating_point.yaml"
    beside.unlink(missing_ok=True)
    evaluated(tmp_path / "out", f"runs={copied[0]}", "save_operating_point=false")
    assert (tmp_path / "out" / "operating_point.yaml").is_file()
    assert not beside.exists()


def test_a_choice_can_be_narrowed(folds: list[Path], tmp_path: Path) -> None:
    evaluated(tmp_path, runs(folds), "epoch=0", "cut=0.0043", "nms_iou=0.31")
    point = read_operating_point(tmp_path / "operating_point.yaml")
    assert (point.epoch, point.cut, point.nms_iou) == (0, 0.0043, 0.31)
    assert set(pd.read_csv(tmp_path / "selection.csv")["cut"]) == {0.0043}
    evaluated(tmp_path, runs(folds), "choose_nms_iou=true", "cut_grid=[0.002,0.004,0.001]")
    grid = pd.read_csv(tmp_path / "grid.csv")
    assert sorted(grid["cut"].unique()) == [0.002, 0.003, 0.004, 0.005]
    assert read_operating_point(tmp_path / "operating_point.yaml").nms_iou == grid.loc[grid["map"].idxmax(), "nms_iou"]


def test_smaller_boxes_score_otherwise_and_are_saved_as_the_rule(folds: list[Path], tmp_path: Path) -> None:
    plain = evaluated(tmp_path, runs(folds), "epoch=1", "cut=0.005")
    smaller = evaluated(tmp_path, runs(folds), "epoch=1", "cut=0.005", "size_rule=rescale")
    assert read_operating_point(tmp_path / "operating_point.yaml").size_rule == "rescale"
    assert smaller["map"] != plain["map"]
    grid = pd.read_csv(tmp_path / "grid.csv").set_index(["epoch", "nms_iou", "cut"])["map"]
    assert smaller["map"] == pytest.approx(grid[1, 0.7, 0.005], abs=1e-12)


def test_the_figures_are_drawn(folds: list[Path], tmp_path: Path) -> None:
    evaluated(tmp_path, runs(folds))
    for name in ("figure_8_score_cuts", "figure_8_nms_ious", "froc", "calibration"):
        pixels = np.asarray(Image.open(tmp_path / f"{name}.png").convert("RGB"))
        assert min(pixels.shape[:2]) > 200
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20


def test_images_at_the_cap_are_counted_and_named(copied: list[Path], tmp_path: Path) -> None:
    for epoch in (0, 1):
        path = RunTables(copied[0] / "predictions").images_path(epoch)
        frame = read_table(path, IMAGES_SCHEMA)
        frame["candidates_before_cap"] = np.where(frame.index == 1, 3001, 3000)
        write_table(pa.Table.from_pandas(frame, schema=IMAGES_SCHEMA, preserve_index=False), path)
    evaluated(tmp_path / "out", f"runs={copied[0]}")
    capped = pd.read_csv(tmp_path / "out" / "capped_images.csv")
    assert capped["image_id"].tolist() == [frame.loc[1, "image_id"]]
    assert f"1 of {len(frame)} images had more than 3,000" in (tmp_path / "out" / "report.md").read_text()


def test_epochs_that_only_some_runs_have_are_named(
    copied: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    RunTables(copied[1] / "predictions").images_path(1).unlink()
    evaluated(tmp_path / "out", runs(copied))
    assert "left out: epochs 1, since not every run has their tables" in caplog.text
    assert "Left out: epochs 1. Not every run has their tables." in (tmp_path / "out" / "report.md").read_text()


def test_one_fold_twice_is_refused(folds: list[Path], copied: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"validated more than once .*one run for each fold"):
        evaluated(tmp_path / "out", runs([folds[0], copied[0]]))


def test_runs_that_decode_otherwise_are_refused(folds: list[Path], copied: list[Path], tmp_path: Path) -> None:
    path = copied[1] / ".hydra" / "config.yaml"
    config = OmegaConf.load(path)
    config.decoding.nms_iou = 0.3
    OmegaConf.save(config, path)
    with pytest.raises(ConfigError, match=r"do not decode alike: decoding.nms_iou \(0.7 / 0.3\)"):
        evaluated(tmp_path / "out", runs([folds[0], copied[1]]))


def changed(folder: Path, key: str, value: object) -> None:
    """Another value in a run's saved configuration."""
    path = folder / ".hydra" / "config.yaml"
    config = OmegaConf.load(path)
    OmegaConf.update(config, key, value, force_add=True)
    OmegaConf.save(config, path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model.dropout_global", 0.1, r"model.dropout_global \(0.75 / 0.1\)"),
        ("name", "light_aug", r"name \(heavy_aug_norot / light_aug\)"),
        ("optimizer.gradient_clip", 0.9, r"optimizer.gradient_clip \(0.1 / 0.9\)"),
        ("callbacks.average.decay", 0.9, r"callbacks.average.decay \(None / 0.9\)"),
        ("callbacks.encoder_freeze.epochs", 1, r"callbacks.encoder_freeze.epochs \(0 / 1\)"),
        ("data.train_negatives", False, r"data.train_negatives \(True / False\)"),
    ],
)
def test_runs_of_two_experiments_are_refused(
    folds: list[Path], copied: list[Path], tmp_path: Path, key: str, value: object, message: str
) -> None:
    changed(copied[1], key, value)
    wanted = rf"{folds[0]} and {copied[1]} are of two experiments: they differ in {message}; name the runs of one"
    with pytest.raises(ConfigError, match=wanted):
        evaluated(tmp_path / "out", runs([folds[0], copied[1]]))


def test_runs_that_differ_in_other_options_are_reported(
    folds: list[Path], copied: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    changed(copied[1], "trainer.max_epochs", 7)
    changed(copied[1], "data.batch_size", 5)
    changed(copied[1], "data.num_workers", 9)
    evaluated(tmp_path / "out", runs([folds[0], copied[1]]))
    text = "differ in more than their fold: data.batch_size (4 / 5), trainer.max_epochs (2 / 7)"
    assert text in caplog.text
    assert f"{text}." in (tmp_path / "out" / "report.md").read_text()
    assert "left out: folds 2, 3, since no run validates on them" in caplog.text


def change_truth(folder: Path, **columns: Callable[[pd.DataFrame], object]) -> None:
    """Other columns in a run's truth table."""
    path = folder / "predictions" / "truth.parquet"
    truth = read_table(path, TRUTH_SCHEMA)
    truth["boxes"] = [[list(box) for box in boxes] for boxes in truth["boxes"]]
    truth = truth.assign(**columns)
    write_table(pa.Table.from_pandas(truth, schema=TRUTH_SCHEMA, preserve_index=False), path)


def test_without_a_patient_map_nothing_is_said_of_patients(copied: list[Path], tmp_path: Path) -> None:
    change_truth(copied[0], true_patient=lambda truth: "image:" + truth["image_id"])
    numbers = evaluated(tmp_path / "out", f"runs={copied[0]}")
    text = (tmp_path / "out" / "report.md").read_text()
    assert "a 95% bootstrap over images (without a patient map " in text
    assert "random splits of the images (without a patient map " in text
    assert "chosen on one half of the images" in text
    assert "true patients |" not in text.replace("true patients | - |", "")
    assert "over true patients" not in text
    assert math.isnan(numbers["true_patients"])


def test_what_intervals_are_over_is_said_in_words() -> None:
    assert units_in_words(pd.Series(["p1", "p1", "image"])) == "true patients"
    assert units_in_words(pd.Series(["p1", "image:b", "p1"])).startswith("true patients (1 of 3 images are not in the")
    assert units_in_words(pd.Series(["image:a", "image:b"])).startswith("images (without a patient map each")


def test_globs_find_runs_and_leave_out_what_has_no_tables(
    copied: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "fold_killed").mkdir()
    numbers = evaluated(tmp_path / "out", f"runs={tmp_path}/fold_*")
    assert numbers["images"] == 12
    assert "fold_killed has no out-of-fold tables" in caplog.text


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "give either runs="),
        (["predictions=a"], "give labels="),
        (["runs={run}/*"], "names no run"),
        (["runs={run}", "predictions=a", "labels=b"], "give either runs="),
        (["runs={run}", "epoch=7"], r"epoch is 7; every run has tables of the epochs \[0, 1\]"),
        (["runs={run}", "cut=0.0001"], "score threshold 0.0001 is below the runs' score floor of 0.001"),
        (["runs={run}", "size_rule=percentile"], "needs the head outputs of an ensemble"),
        (["runs={run}", "size_rule=small"], "size_rule is 'small'"),
        (["runs={run}", "ids=a"], "ids would have no effect with runs="),
        (["predictions=a", "labels=b", "cut=0.5", "epoch=3"], "epoch, cut would have no effect with predictions="),
        (["runs={run}", "splits=many"], "splits is 'many'"),
        (["runs={run}", "splits=0"], "splits is 0; expected 1 or more"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(
    folds: list[Path], tmp_path: Path, overrides: list[str], message: str
) -> None:
    set_up()
    config = compose_config("evaluate", [o.format(run=folds[0]) for o in overrides])
    config.run_dir = str(tmp_path)
    with pytest.raises(ValueError, match=message):
        evaluate(check_config(config, EvaluateOptions))


def test_an_epoch_that_is_not_there_is_refused_before_the_grid(
    folds: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score_runs, "score_grid", None)
    with pytest.raises(ConfigError, match="epoch is 2; every run"):
        evaluated(tmp_path, f"runs={folds[0]}", "epoch=2")


def test_an_operating_point_without_true_positives_is_reported(
    copied: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    evaluated(out, f"runs={copied[0]}")
    assert "mAP of the grid is 0" not in (out / "report.md").read_text() + caplog.text
    # Every image has one true box, where no detection can be.
    change_truth(copied[0], boxes=lambda truth: [[[1000.0, 1000.0, 1001.0, 1001.0]]] * len(truth))
    assert evaluated(out, f"runs={copied[0]}")["map"] == 0
    for text in (caplog.text, (out / "report.md").read_text()):
        assert "he highest mAP of the grid is 0: no grid point has a true positive" in text


def test_runs_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"runs=.*nowhere.*no file or folder matches"):
        evaluated(tmp_path, f"runs={tmp_path}/nowhere/*")
