"""All that a run logs to W&B, read back from its offline files: a run that was cut off once and went on."""

import base64
import fnmatch
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import torch
import wandb
from PIL import Image

from rsna_det.config.compose import build
from rsna_det.config.options import TrainOptions
from rsna_det.drawing.boxes import BoxedImage
from rsna_det.runs.artifacts import run_artifacts
from rsna_det.runs.resume import saved_run
from rsna_det.runs.session import run
from rsna_det.runs.tracking import RunLogger
from rsna_det.training.callbacks import EpochSeed
from tests.short_runs import TRAINING_WARNINGS, composed, options_of

pytestmark = TRAINING_WARNINGS

EPOCHS, CUT_OFF = 3, 2
# Scores near the prior of 0.01 count, so that something is found. The rate is so high that the first epochs are not
# the worst of all by any measure.
OPTIONS = [
    "logger=wandb",
    "logger.wandb.tags=[mine]",
    "name=a study of/mine",
    "data.fold=1",
    "seed=5",
    f"trainer.max_epochs={EPOCHS}",
    "decoding.score_floor=0.001",
    "decoding.nms_iou=0.3",
    "decoding.cut=0.005",
    "decoding.cut_grid=[0.002,0.02,0.002]",
]


@dataclass(frozen=True, kw_only=True)
class Logged:
    """A run's folder, its options, what its W&B files hold, part by part, and what was drawn each epoch."""

    folder: Path
    options: TrainOptions
    parts: list[list[dict[str, Any]]]
    drawn: dict[int, list[BoxedImage]]

    def all(self, kind: str, *, part: int = -1) -> list[dict[str, Any]]:
        return [record[kind] for record in self.parts[part] if kind in record]

    def file(self, path: str, *, part: int = -1) -> Path:
        return sorted(self.folder.glob("wandb/offline-run-*"))[part] / "files" / path


def records(log: Path, *options: str) -> str:
    inspect = [str(Path(sys.executable).with_name("wandb")), "leet", "inspect", *options, "--json", str(log)]
    return subprocess.run(inspect, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def logged(synthetic_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Logged:
    """A run that was interrupted as its last epoch started, and resumed."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    options = options_of(synthetic_root, folder, *OPTIONS)
    drawn: dict[int, list[BoxedImage]] = {}
    log_detections, seed_epoch = RunLogger.log_detections, EpochSeed.on_train_epoch_start

    def listen(self: RunLogger, key: str, images: list[BoxedImage], *, epoch: int, cut: float) -> None:
        drawn[epoch] = images
        log_detections(self, key, images, epoch=epoch, cut=cut)

    def stop(self: EpochSeed, trainer: Any, module: Any) -> None:
        if trainer.current_epoch == CUT_OFF:
            raise RuntimeError("the power went out")
        seed_epoch(self, trainer, module)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(RunLogger, "log_detections", listen)
        with patched.context() as cut_off:
            cut_off.setattr(EpochSeed, "on_train_epoch_start", stop)
            with pytest.raises(RuntimeError, match="power"):
                run(options)
        options = saved_run([f"resume={folder}"])
        run(options, checkpoint=folder / "checkpoints" / "last.ckpt")
    logs = sorted(folder.glob("wandb/offline-run-*/*.wandb"))
    parts = [[json.loads(line) for line in records(log).splitlines()] for log in logs]
    return Logged(folder=folder, options=options, parts=parts, drawn=drawn)


def test_both_parts_are_one_run_in_its_group_with_job_type_and_tags(logged: Logged) -> None:
    run_id = (logged.folder / "wandb_id").read_text().strip()
    assert len(logged.parts) == 2
    for part in (0, 1):
        (described,) = logged.all("run", part=part)
        assert (described["run_id"], described["project"]) == (run_id, "rsna-det")
        assert (described["run_group"], described["job_type"]) == ("a study of/mine", "train")
        assert described["tags"] == ["a study of/mine", "test_efficientnet", "fold 1", "seed 5", "mine"]


def test_a_studys_run_is_in_the_group_of_its_study(synthetic_root: Path) -> None:
    config = composed(synthetic_root, Path("run"), "sweep=negatives", "logger=wandb")
    assert config.logger.wandb.group == "negatives"
    assert composed(synthetic_root, Path("run"), "logger=wandb").logger.wandb.group == config.name


def test_every_column_of_the_metrics_is_drawn_over_epochs(logged: Logged) -> None:
    table = pd.read_csv(logged.folder / "metrics.csv")
    columns = set(table.columns) - {"epoch", "step"}
    assert {"val/map_best", "val/global_auc", "train/loss", "learning_rate"} < columns
    defined = [(m.get("name") or m["glob_name"], m.get("step_metric")) for m in logged.all("metric")]
    for column in columns:
        closest = max((d for d in defined if fnmatch.fnmatchcase(column, d[0])), key=lambda d: len(d[0]))
        assert closest[1] == "epoch", column
    logged_values = {
        (item["epoch"], name): item[name]
        for part in (0, 1)
        for item in (history["item"] for history in logged.all("history", part=part))
        for name in columns & item.keys()
    }
    for column in columns:
        assert [logged_values[epoch, column] for epoch in range(EPOCHS)] == pytest.approx(
            table[column].tolist(), rel=1e-6, nan_ok=True
        )


def test_the_summary_is_of_the_whole_run_and_not_of_its_last_part(logged: Logged) -> None:
    log = sorted(logged.folder.glob("wandb/offline-run-*/*.wandb"))[-1]
    summary = json.loads(records(log, "--summary"))["summary"]
    table = pd.read_csv(logged.folder / "metrics.csv")
    lowest = [f"{part}/{name}" for part in ("train", "val") for name in ("box_class", "box_regression", "loss")]
    highest = ["val/map", "val/map_best", "val/global_accuracy"]
    for names, kind in ((lowest, "min"), (highest, "max")):
        for name in names:
            wanted = {kind: table[name].agg(kind), "last": table[name].iloc[-1]}
            assert summary[name] == pytest.approx(wanted, rel=1e-12), name
    assert summary["val/cut_best"] == table["val/cut_best"].iloc[-1]
    best = table[lowest].idxmin().tolist() + table[highest].idxmax().tolist()
    assert min(best) < CUT_OFF, "the test is worth nothing if the last part had the best of everything"


def images_of(logged: Logged) -> Iterator[tuple[int, dict[str, Any]]]:
    for part in (0, 1):
        for history in logged.all("history", part=part):
            if "val/detections._type" in history["item"]:
                yield part, history["item"]


def test_the_images_carry_the_boxes_that_were_drawn(logged: Logged) -> None:
    found = list(images_of(logged))
    assert [item["epoch"] for _, item in found] == sorted(logged.drawn) == list(range(EPOCHS))
    counted = {"truth": 0, "detections": 0}
    for part, item in found:
        drawn = logged.drawn[item["epoch"]]
        assert len(drawn) == 2
        for number, image in enumerate(drawn):
            picture = Image.open(logged.file(item["val/detections.filenames"][number], part=part))
            assert np.array_equal(np.asarray(picture.convert("L")), image.image)
            assert item["val/detections.captions"][number].startswith(f"{image.caption}, score above 0.0")
            shown = {"truth": (image.truths, None), "detections": (image.detections.boxes, image.detections.scores)}
            for name, (boxes, scores) in shown.items():
                entry = item["val/detections.all_boxes"][number][name]
                stored = json.loads(logged.file(entry["path"], part=part).read_text())
                check_boxes(stored, torch.as_tensor(boxes), scores)
                counted[name] += len(boxes)
    assert min(counted.values()) > 0, "the test is worth nothing without boxes"


def check_boxes(stored: dict[str, Any], boxes: torch.Tensor, scores: torch.Tensor | None) -> None:
    assert stored["class_labels"] == {"2": "Lung Opacity"}
    data = stored["box_data"]
    assert [[box["position"][key] for key in ("minX", "minY", "maxX", "maxY")] for box in data] == boxes.tolist()
    assert all((box["domain"], box["class_id"]) == ("pixel", 2) for box in data)
    if scores is not None:
        assert [box["scores"]["score"] for box in data] == scores.tolist()
        assert [box["box_caption"] for box in data] == [f"{score:.2f}" for score in scores.tolist()]
    # 64 network pixels
    assert all(0 <= value <= 64 for box in data for value in box["position"].values())


def test_the_artifacts_are_the_tables_and_the_best_checkpoint_as_they_lie_there(logged: Logged) -> None:
    assert not logged.all("artifact", part=0), "the run was not finished"
    tables, model = logged.all("artifact")
    run_id = (logged.folder / "wandb_id").read_text().strip()
    assert (tables["type"], tables["name"]) == ("out-of-fold", f"a_study_of_mine-fold1-out-of-fold-{run_id}")
    assert (model["type"], model["name"]) == ("model", f"a_study_of_mine-fold1-model-{run_id}")
    parquet = [f"predictions/epoch_{n:02d}.{kind}.parquet" for n in range(EPOCHS) for kind in ("candidates", "images")]
    wanted = {
        "out-of-fold": [*parquet, "predictions/truth.parquet"],
        "model": ["checkpoints/best.ckpt", "config.yaml", "provenance.json"],
    }
    best = torch.load(logged.folder / "checkpoints" / "best.ckpt", weights_only=True)
    for artifact in (tables, model):
        contents = {entry["path"]: entry for entry in artifact["manifest"]["contents"]}
        assert sorted(contents) == wanted[artifact["type"]]
        for path, entry in contents.items():
            file = logged.folder / path
            # No copy: where `wandb sync` will look for it.
            assert Path(entry["local_path"]) == file.resolve()
            digest = hashlib.md5(file.read_bytes(), usedforsecurity=False).digest()
            assert (entry["digest"], int(entry["size"])) == (base64.b64encode(digest).decode(), file.stat().st_size)
        metadata = json.loads(artifact["metadata"])
        assert (metadata["experiment"], metadata["fold"], metadata["seed"]) == ("a study of/mine", 1, 5)
        assert metadata["epoch"] == best["epoch"]
        assert metadata["val/map_best"] == pd.read_csv(logged.folder / "metrics.csv")["val/map_best"].max()


def test_a_finished_run_that_is_made_longer_logs_to_the_same_names(logged: Logged) -> None:
    longer = saved_run([f"resume={logged.folder}", "trainer.precision=bf16-mixed", "logger.wandb.tags=[other]"])
    run_id = (logged.folder / "wandb_id").read_text().strip()
    again = [f"{artifact.label}-{run_id}" for artifact in run_artifacts(longer)]
    assert again == [artifact["name"] for artifact in logged.all("artifact")]


@pytest.fixture
def logger(logged: Logged, tmp_path: Path) -> RunLogger:
    """One whose run only pretends."""
    made = RunLogger(keep_artifacts=True, save_dir=str(tmp_path), project="tests", id="abc")
    made._experiment = Mock(id="abc", summary={})
    return made


def test_what_wandb_cannot_do_is_a_warning(
    logged: Logged, logger: RunLogger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*args: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(wandb.Artifact, "add_file", full)
    monkeypatch.setattr(wandb, "Image", full)
    logger.conclude(logged.options)
    assert "W&B did not take the artifacts (OSError: [Errno 28] No space left on device)" in caplog.text
    assert logger.experiment.summary["val/map_best"]["max"] > 0
    logger.log_detections("val/detections", logged.drawn[0], epoch=0, cut=0.5)
    assert "W&B did not take the detections" in caplog.text


def test_artifacts_can_be_left_out_and_a_run_may_have_no_scores(
    logged: Logged, logger: RunLogger, tmp_path: Path
) -> None:
    logger.keep_artifacts = False
    logger.conclude(logged.options)
    logger.experiment.log_artifact.assert_not_called()
    assert run_artifacts(replace(logged.options, run_dir=tmp_path / "empty")) == []


def test_without_the_logger_nothing_is_written(trained_folds: list[Path]) -> None:
    for folder in trained_folds:
        assert not list(folder.glob("wandb*"))


def test_a_disabled_run_leaves_no_log(synthetic_root: Path, tmp_path: Path) -> None:
    options = options_of(synthetic_root, tmp_path / "run", "logger=wandb", "logger.wandb.mode=disabled")
    made = build(options.logger["wandb"])
    made.log_detections("val/detections", [], epoch=0, cut=0.5)
    made.conclude(options)
    wandb.finish()
    assert not list(tmp_path.glob("run/wandb/**/*.wandb"))
