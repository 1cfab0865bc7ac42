"""From checkpoints and DICOM files to boxes: the scores of training come back, and nothing is lost on the way."""

import errno
import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from rsna_det.config.check import check_config
from rsna_det.config.compose import compose_config
from rsna_det.config.options import PredictOptions
from rsna_det.data.cache import decoding_pool
from rsna_det.data.cache.decoding_pool import Square, read_square
from rsna_det.errors import ConfigError, DataError, InUseError, RsnaDetError, StorageError
from rsna_det.evaluation.metric import challenge_map
from rsna_det.evaluation.operating_point import (
    OPERATING_POINT,
    OperatingPoint,
    read_operating_point,
    write_operating_point,
)
from rsna_det.evaluation.submission import read_submission
from rsna_det.evaluation.tables import CANDIDATES_SCHEMA, IMAGES_SCHEMA, TRUTH_SCHEMA, read_table
from rsna_det.predict import chunks, finishing, resumable
from rsna_det.predict.__main__ import main
from rsna_det.predict.folder import is_finished, write_part
from rsna_det.predict.job import predict_files
from rsna_det.predict.members import find_members
from rsna_det.predict.pictures import PictureTask
from rsna_det.predict.plan import Settings, plan_chunks
from rsna_det.predict.resumable import Result
from rsna_det.structures import Detections
from tests.short_runs import TRAINING_WARNINGS, environment

NUMBERS = ["x1", "y1", "x2", "y2", "score"]


pytestmark = TRAINING_WARNINGS


@pytest.fixture(scope="module")
def runs(trained_folds: list[Path]) -> list[Path]:
    """Two folds' runs of two epochs."""
    return trained_folds


@pytest.fixture(scope="module")
def radiographs(synthetic_root: Path) -> Path:
    return synthetic_root / "stage_2_train_images"


def predict(out: Path, checkpoints: object, images: object, **options: object) -> Result:
    """A prediction without pictures, of the configuration as it is otherwise."""
    config = compose_config("predict", [])
    given = {"checkpoints": checkpoints, "images": images, "out": out, "pictures": False, "accelerator": "cpu"}
    for key, value in (given | options).items():
        config[key] = [str(v) for v in value] if isinstance(value, list) else str(value) if key in PATHS else value
    return predict_files(check_config(config, PredictOptions))


PATHS = ("checkpoints", "images", "out", "labels", "operating_point")


def checkpoint(folder: Path, epoch: int = 1) -> Path:
    return folder / "checkpoints" / f"epoch_{epoch:02d}.ckpt"


def table(out: Path, name: str = "mean.candidates") -> pd.DataFrame:
    return read_table(out / f"{name}.parquet", CANDIDATES_SCHEMA).astype({"image_id": str})


def validation_files(folder: Path, radiographs: Path) -> tuple[list[Path], list[torch.Tensor]]:
    truth = read_table(folder / "predictions" / "truth.parquet", TRUTH_SCHEMA)
    truth = truth[truth["role"] == "val"]
    boxes = [torch.tensor([list(box) for box in boxes]).reshape(-1, 4) for boxes in truth["boxes"]]
    return [radiographs / f"{image_id}.dcm" for image_id in truth["image_id"]], boxes


@pytest.mark.parametrize("epoch", [0, 1])
def test_one_member_gives_the_scores_of_its_validation(
    epoch: int, runs: list[Path], radiographs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files, truths = validation_files(runs[0], radiographs)
    predict(tmp_path / "out", checkpoint(runs[0], epoch), files)
    found = read_submission(tmp_path / "out" / "submission.csv")
    detections = [found[file.stem] for file in files]
    logged = pd.read_csv(runs[0] / "metrics.csv").set_index("epoch")["val/map"][epoch]
    assert challenge_map(detections=detections, truths=truths) == pytest.approx(logged, abs=1e-6)
    assert sum(len(d.scores) for d in detections) > len(files)
    ours = table(tmp_path / "out")
    theirs = read_table(runs[0] / "predictions" / f"epoch_{epoch:02d}.candidates.parquet", CANDIDATES_SCHEMA)
    assert ours["image_id"].tolist() == theirs["image_id"].tolist()
    assert ours["score"].to_numpy() == pytest.approx(theirs["score"].to_numpy(), rel=1e-5)
    images = read_table(tmp_path / "out" / "images.parquet", IMAGES_SCHEMA)
    logged_images = read_table(runs[0] / "predictions" / f"epoch_{epoch:02d}.images.parquet", IMAGES_SCHEMA)
    assert images["p_opacity"].to_numpy() == pytest.approx(logged_images["p_opacity"].to_numpy(), abs=1e-5)
    assert "was trained on" not in caplog.text
    assert "using the training defaults" in caplog.text


def test_everything_that_is_promised_lies_in_the_folder(
    runs: list[Path], radiographs: Path, synthetic_root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    glob = str(runs[0].parent / "*" / "checkpoints" / "epoch_0[01].ckpt")
    result = predict(out, glob, radiographs, pictures=3, labels=synthetic_root / "stage_2_train_labels.csv")
    assert sorted(path.name for path in out.iterdir()) == [
        "detections.parquet",
        "files.csv",
        "images.parquet",
        "mean.candidates.parquet",
        "members.csv",
        "operating_point.yaml",
        "percentile.candidates.parquet",
        "pictures",
        "problems.csv",
        "submission.csv",
    ]
    assert len(result.found) == len(read_submission(out / "submission.csv")) == 24
    assert sum(map(len, (f.scores for f in result.found.values()))) > 0
    members = pd.read_csv(out / "members.csv")
    assert members[["fold", "epoch"]].to_numpy().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    truths = [read_table(folder / "predictions" / "truth.parquet", TRUTH_SCHEMA) for folder in runs]
    learnt = [(truth["role"] == "train").sum() for truth in truths for _ in range(2)]
    assert members["images_trained_on"].tolist() == learnt
    assert all(f"was trained on {count} of the 24 images" in caplog.text for count in learnt)
    files = pd.read_csv(out / "files.csv")
    assert files["boxes"].tolist() == [len(result.found[i].scores) for i in files["image_id"]]
    assert (files[["width", "height"]] == 64).all(axis=None)
    assert read_operating_point(out / "operating_point.yaml").cut == 0.005
    pictures = sorted((out / "pictures").iterdir())
    assert [picture.stem for picture in pictures] == files["image_id"].tolist()[:3]
    drawn = [np.asarray(Image.open(picture)) for picture in pictures]
    greener = [np.asarray(picture[..., 1], int) - picture[..., 0] for picture in drawn]
    assert all(difference.max() > 80 for difference in greener), "at least in the legend"
    mean, percentile = table(out), table(out, "percentile.candidates")
    assert percentile["score"].max() == mean["score"].max()
    areas = [((t["x2"] - t["x1"]) * (t["y2"] - t["y1"])).median() for t in (mean, percentile)]
    assert areas[1] < areas[0]


def test_equal_members_are_as_one(runs: list[Path], radiographs: Path, tmp_path: Path) -> None:
    twin = tmp_path / "twin.ckpt"
    shutil.copy(checkpoint(runs[0]), twin)
    files = sorted(radiographs.iterdir())[:4]
    predict(tmp_path / "one", checkpoint(runs[0]), files)
    predict(tmp_path / "two", [checkpoint(runs[0]), twin], files)
    for name in ("mean.candidates", "percentile.candidates"):
        pd.testing.assert_frame_equal(table(tmp_path / "one"), table(tmp_path / "two", name))
    submissions = [(tmp_path / name / "submission.csv").read_text() for name in ("one", "two")]
    assert submissions[0] == submissions[1]
    assert not (tmp_path / "one" / "percentile.candidates.parquet").exists()


def test_size_rules_act_on_the_boxes_and_not_on_the_scores(
    runs: list[Path], radiographs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pair = [checkpoint(folder) for folder in runs]
    files = sorted(radiographs.iterdir())[:4]
    found = {
        rule: predict(tmp_path / rule, pair, files, size_rule=rule).found for rule in ("none", "rescale", "percentile")
    }

    def areas(rule: str) -> np.ndarray:
        boxes = torch.cat([f.boxes for f in found[rule].values()])
        return ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).numpy()

    assert areas("rescale") == pytest.approx(areas("none") * 0.875**2, rel=1e-4)
    assert np.median(areas("percentile")) < np.median(areas("none"))
    best = [{i: f.scores.max().item() for i, f in found[rule].items() if len(f.scores)} for rule in found]
    assert best[0] == best[1] == best[2]
    assert "has no effect with one member" not in caplog.text
    predict(tmp_path / "alone", pair[:1], files, size_rule="percentile")
    assert "has no effect with one member" in caplog.text


def test_chunks_of_one_image_are_as_good_as_one_of_all(runs: list[Path], radiographs: Path, tmp_path: Path) -> None:
    pair = [checkpoint(folder) for folder in runs]
    few = dict.fromkeys(sorted(radiographs.iterdir())[:5])
    predict(tmp_path / "one", pair, list(few), batch_size=1)
    predict(tmp_path / "many", pair, list(few), batch_size=1, memory_gb=1e-6)
    for name in ("mean.candidates", "percentile.candidates"):
        pd.testing.assert_frame_equal(table(tmp_path / "one", name), table(tmp_path / "many", name))
    predict(tmp_path / "batch", pair, list(few), batch_size=4)
    scores = [table(tmp_path / name)["score"].to_numpy() for name in ("one", "batch")]
    assert scores[0] == pytest.approx(scores[1], rel=1e-4)


def test_a_plan_keeps_to_its_memory(runs: list[Path]) -> None:
    members = find_members([str(checkpoint(folder)) for folder in runs])
    # 64 px: (256 + 64 + 16 + 4 + 1 + 1) cells of 9 anchors, five float32 each, of two members; three squares of
    # pixels: as read, in its batch, and of an image of the next chunk
    an_image = 2 * (256 + 64 + 16 + 4 + 1 + 1) * 9 * 5 * 4 + 3 * 64 * 64
    options = {"batch_size": 2, "workers": 1, "device": torch.device("cpu"), "pictures": None}
    for images in (100, 400):
        plan = plan_chunks(
            images=1000, members=members, settings=Settings(memory_gb=images * an_image / 2**30, **options)
        )
        assert images / 2 < plan.images_in_chunk < images
        assert plan.peak_bytes <= images * an_image
        assert plan.chunks == -(-1000 // plan.images_in_chunk)
    ten, eleven = (
        plan_chunks(images=count, members=members, settings=Settings(memory_gb=1, **options)).peak_bytes
        for count in (10, 11)
    )
    assert eleven - ten == an_image


@pytest.fixture
def clinic(radiographs: Path, tmp_path: Path) -> Path:
    """A folder as it comes from elsewhere: no suffixes, equal names, a damaged file."""
    root = tmp_path / "clinic"
    files = sorted(radiographs.iterdir())[:3]
    for name, file in zip(("one/IM1", "two/IM1", "three.dcm"), files, strict=True):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, root / name)
    (root / "broken.dcm").write_bytes(files[0].read_bytes()[:400])
    (root / "README.txt").write_text("not a radiograph")
    return root


def test_a_damaged_file_stops_nothing_and_is_reported(runs: list[Path], clinic: Path, tmp_path: Path) -> None:
    result = predict(tmp_path / "out", checkpoint(runs[0]), clinic, pictures=True)
    assert list(result.problems) == ["broken"]
    rows = (tmp_path / "out" / "submission.csv").read_text().splitlines()
    assert [row.partition(",")[0] for row in rows[1:]] == ["broken", "one_IM1", "three", "two_IM1"]
    assert rows[1] == "broken,"
    problems = pd.read_csv(tmp_path / "out" / "problems.csv")
    assert problems["path"].tolist() == [str(clinic / "broken.dcm")]
    assert "broken.dcm" in problems["problem"][0]
    assert len(list((tmp_path / "out" / "pictures").iterdir())) == 3


def test_processes_find_the_same(
    runs: list[Path], clinic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict(tmp_path / "thread", checkpoint(runs[0]), clinic, pictures=2)
    monkeypatch.setattr(decoding_pool, "_WORTH_A_PROCESS", 2)
    predict(tmp_path / "processes", checkpoint(runs[0]), clinic, pictures=2, workers=2)
    for name in ("submission.csv", "problems.csv", "pictures/one_IM1.png"):
        assert (tmp_path / "thread" / name).read_bytes() == (tmp_path / "processes" / name).read_bytes()


def test_a_picture_that_cannot_be_drawn_stops_nothing(
    runs: list[Path], radiographs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = sorted(radiographs.iterdir())[:3]
    # With .dcm for .png both names are as long as a name may be: with .partial behind, one is too long.
    names = ("a" * 251 + ".dcm", "b" * 255, "c.dcm")
    images = tmp_path / "images"
    images.mkdir()
    for name, file in zip(names, files, strict=True):
        shutil.copy(file, images / name)
    result = predict(tmp_path / "out", checkpoint(runs[0]), images, pictures=True)
    plain = predict(tmp_path / "plain", checkpoint(runs[0]), files)
    assert (sorted(result.undrawn), result.problems) == (["a" * 251, "b" * 255], {})
    for found, expected in zip(result.found.values(), plain.found.values(), strict=True):
        torch.testing.assert_close(found.boxes, expected.boxes)
    assert [path.name for path in (tmp_path / "out" / "pictures").iterdir()] == ["c.png"]
    problems = pd.read_csv(tmp_path / "out" / "problems.csv").set_index("image_id")
    assert problems["path"].tolist() == [str(images / name) for name in names[:2]]
    assert problems["problem"].str.contains("could not be drawn .*File name too long").all()
    assert caplog.text.count("predicted, but not drawn: ") == 2


def test_a_radiograph_that_is_gone_when_it_is_drawn(
    runs: list[Path], clinic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = resumable.draw

    def late(task: PictureTask) -> float | str:
        if task.image_id == "three":
            task.source.unlink()
        return drawn(task)

    monkeypatch.setattr(resumable, "draw", late)
    result = predict(tmp_path / "out", checkpoint(runs[0]), clinic, pictures=True)
    assert list(result.problems) == ["broken"]
    assert list(result.undrawn) == ["three"]
    problems = pd.read_csv(tmp_path / "out" / "problems.csv").set_index("image_id")["problem"]
    assert list(problems.index) == ["broken", "three"]
    assert "three.dcm: there is no such file" in problems["three"]


def test_a_disk_that_is_full_while_drawing_is_reported_with_file_and_remedy(
    runs: list[Path], clinic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Image.Image, "save", full)
        with pytest.raises(
            StorageError, match=r"pictures/one_IM1\.png could not be written .*free some space, or draw none"
        ):
            predict(tmp_path / "out", checkpoint(runs[0]), clinic, pictures=True)
    assert list((tmp_path / "out" / "pictures").iterdir()) == []
    result = predict(tmp_path / "out", checkpoint(runs[0]), clinic, pictures=True)
    assert (result.reused, result.undrawn) == (4, {})
    assert len(list((tmp_path / "out" / "pictures").iterdir())) == 3


def test_a_submission_that_breaks_a_rule_is_none(
    runs: list[Path], clinic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr(finishing, "detections_of", partial(_grown, finishing.detections_of))
    with pytest.raises(ValueError, match=r"submission\.unchecked\.csv is not a valid submission"):
        predict(out, checkpoint(runs[0]), clinic)
    assert not (out / "submission.csv").exists()
    assert not is_finished(out)


def _grown(detections_of: Callable[..., dict[str, Detections]], *given: object) -> dict[str, Detections]:
    """Boxes twice as large: they reach out of their images."""
    return {i: replace(found, boxes=2 * found.boxes) for i, found in detections_of(*given).items()}


def test_nothing_but_damaged_files(runs: list[Path], clinic: Path, tmp_path: Path) -> None:
    result = predict(tmp_path / "out", [checkpoint(folder) for folder in runs], clinic / "broken.dcm", pictures=True)
    assert list(result.problems) == ["broken"]
    assert (tmp_path / "out" / "submission.csv").read_text() == "patientId,PredictionString\nbroken,\n"


def test_the_command_says_what_is_wrong_by_its_exit_status(
    runs: list[Path], clinic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    glob = f"checkpoints='{runs[0]}/checkpoints/epoch_0[01].ckpt'"
    command = [sys.executable, "-m", "rsna_det.predict", glob, f"images={clinic}", f"out={out}", "accelerator=cpu"]
    done = subprocess.run(command, env=environment(), check=False, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "not predicted: " in done.stderr
    assert "broken.dcm" in done.stderr
    assert "network" in done.stdout
    saved = [(out / name).read_text() for name in ("predict.log", ".hydra/overrides.yaml")]
    monkeypatch.setattr(sys, "argv", [*command[2:], "cut=0.5"])
    with pytest.raises(SystemExit, match=r"error: .*holds a finished prediction"):
        main()
    assert [(out / name).read_text() for name in ("predict.log", ".hydra/overrides.yaml")] == saved


class TestResuming:
    """An interrupted prediction, and folders that hold something already."""

    def killed(self, out: Path, pair: list[Path], images: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
        """As if the power had failed after two chunks of one image."""

        def fail(folder: Path, *, number: int, **options: object) -> object:
            if number == 2:
                raise RuntimeError("the power went out")
            return write_part(folder, number=number, **options)  # type: ignore[arg-type]

        with monkeypatch.context() as patched:
            patched.setattr(resumable, "write_part", fail)
            with pytest.raises(RuntimeError, match="power"):
                predict(out, pair, images, batch_size=1, memory_gb=1e-6)

    def test_finished_chunks_are_not_predicted_again(
        self, runs: list[Path], clinic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pair = [checkpoint(folder) for folder in runs]
        self.killed(tmp_path / "out", pair, [clinic], monkeypatch)
        assert not (tmp_path / "out" / "submission.csv").exists()
        read: list[str] = []

        def spy(path: Path, side: int, **options: object) -> Square | str:
            read.append(path.name)
            return read_square(path, side, **options)

        monkeypatch.setattr(chunks, "read_square", spy)
        # More memory than before: the rest is one chunk.
        result = predict(tmp_path / "out", pair, [clinic], batch_size=1)
        assert (read, result.reused) == (["three.dcm", "IM1"], 2)
        assert list(result.problems) == ["broken"]
        assert not (tmp_path / "out" / "parts").exists()
        predict(tmp_path / "whole", pair, [clinic], batch_size=1)
        for name in ("submission.csv", "files.csv", "problems.csv"):
            assert (tmp_path / "out" / name).read_text() == (tmp_path / "whole" / name).read_text()
        pd.testing.assert_frame_equal(table(tmp_path / "out"), table(tmp_path / "whole"))

    def test_parts_of_another_prediction_are_not_used(
        self, runs: list[Path], clinic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pair = [checkpoint(folder) for folder in runs]
        self.killed(tmp_path / "out", pair, [clinic], monkeypatch)
        with pytest.raises(InUseError, match="unfinished prediction that differs in: operating point; choose"):
            predict(tmp_path / "out", pair, [clinic], cut=0.01)
        with pytest.raises(InUseError, match="differs in: checkpoints"):
            predict(tmp_path / "out", pair[:1], [clinic])
        (clinic / "three.dcm").touch()
        with pytest.raises(InUseError, match="differs in: images"):
            predict(tmp_path / "out", pair, [clinic])
        assert predict(tmp_path / "out", pair, [clinic], overwrite=True).reused == 0

    def test_a_damaged_part_is_named_and_can_be_overwritten(
        self, runs: list[Path], clinic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        out, pair = tmp_path / "out", [checkpoint(folder) for folder in runs]
        self.killed(out, pair, [clinic], monkeypatch)
        saved = json.loads((out / "parts" / "fingerprint.json").read_text())
        assert list(saved) == ["checkpoints", "images", "operating point"]
        part = out / "parts" / "000001.part.json"
        sound = part.read_text()
        for damage in ('{"sizes": {"one_IM1": [64]}, "problems": {}}', '{"sizes": {}}', sound[:-5]):
            part.write_text(damage)
            with pytest.raises(DataError, match=r"000001\.part\.json is damaged .*anew with `overwrite=true`"):
                predict(out, pair, [clinic])
        part.write_text(sound)
        (out / "parts" / "fingerprint.json").write_text(json.dumps(saved | {"images": {"count": 4.5}}))
        with pytest.raises(DataError, match=r"fingerprint\.json is damaged \(images\.count"):
            predict(out, pair, [clinic])
        assert predict(out, pair, [clinic], overwrite=True).reused == 0

    def test_a_finished_prediction_is_only_replaced_on_demand(
        self, runs: list[Path], clinic: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        predict(out, checkpoint(runs[0]), clinic, pictures=True)
        (out / "notes.txt").write_text("mine")
        before = (out / "submission.csv").read_text()
        with pytest.raises(InUseError, match="finished prediction: choose another `out`"):
            predict(out, checkpoint(runs[0]), clinic, cut=0.5)
        assert (out / "submission.csv").read_text() == before
        predict(out, checkpoint(runs[0]), clinic, cut=0.5, overwrite=True)
        assert (out / "submission.csv").read_text() != before
        assert (out / "notes.txt").read_text() == "mine"
        assert not (out / "pictures").exists()


def test_the_operating_point_beside_the_checkpoints_is_used(
    runs: list[Path], radiographs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    alone = tmp_path / "run" / "checkpoints"
    alone.mkdir(parents=True)
    shutil.copy(checkpoint(runs[0]), alone / "epoch_01.ckpt")
    numbers = {"image_size": 64, "score_floor": 0.001, "max_candidates": 50, "nms_iou": 0.3, "relative_cut": 0.0}
    point = OperatingPoint(**numbers, cut=0.004, epoch=1)  # type: ignore[arg-type]
    write_operating_point(point, alone / OPERATING_POINT, evidence={})
    caplog.set_level(logging.INFO)
    predict(tmp_path / "out", alone / "epoch_01.ckpt", radiographs, nms_iou=0.4)
    used = read_operating_point(tmp_path / "out" / OPERATING_POINT)
    assert (used.cut, used.nms_iou, used.max_candidates) == (0.004, 0.4, 50)
    assert table(tmp_path / "out").groupby("image_id").size().max() <= 50
    assert "using the training defaults" not in caplog.text
    assert "cannot tell whether" in caplog.text


def test_a_point_chosen_on_single_models_gets_a_warning_in_an_ensemble(
    runs: list[Path], radiographs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    numbers = {"image_size": 64, "score_floor": 0.001, "max_candidates": 50, "nms_iou": 0.3, "relative_cut": 0.0}
    for name, epoch in (("of_runs", 1), ("by_hand", None)):
        point = OperatingPoint(**numbers, cut=0.004, epoch=epoch)  # type: ignore[arg-type]
        write_operating_point(point, tmp_path / f"{name}.yaml", evidence={})
    pair, files = [checkpoint(folder) for folder in runs], sorted(radiographs.iterdir())[:2]
    for place, members, options in (
        ("alone", pair[:1], {"operating_point": tmp_path / "of_runs.yaml"}),
        ("by_hand", pair, {"operating_point": tmp_path / "by_hand.yaml"}),
        ("given", pair, {"operating_point": tmp_path / "of_runs.yaml", "cut": 0.01}),
    ):
        predict(tmp_path / place, members, files, **options)
        assert "chosen on single models" not in caplog.text
    predict(tmp_path / "both", pair, files, operating_point=tmp_path / "of_runs.yaml")
    assert "the score threshold 0.004 was chosen on single models and is applied to the mean of 2" in caplog.text
    assert "evaluate predictions=" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cut": 0.0001}, "below the score floor"),
        ({"size_rule": "smaller"}, "size_rule is 'smaller'"),
        ({"rescale_factor": 1.2}, r"rescale_factor is 1\.2; expected .* up to 1, since a larger box"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"memory_gb": "much"}, "memory_gb is 'much'"),
        ({"pictures": -1}, "pictures is -1"),
        ({"accelerator": "tpu"}, "accelerator is 'tpu'"),
        ({"accelerator": "cuda"}, "torch sees no GPU"),
        ({"labels": "nowhere.csv"}, r"nowhere\.csv"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_is_written(
    options: dict[str, object],
    message: str,
    runs: list[Path],
    radiographs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RsnaDetError, match=message):
        predict(tmp_path / "out", checkpoint(runs[0]), radiographs, **options)
    assert not (tmp_path / "out").exists()


def test_what_is_missing_is_explained() -> None:
    with pytest.raises(
        ConfigError, match=r"checkpoints is not set: .*best\.ckpt(.|\n)*images is not set: give a folder"
    ):
        check_config(compose_config("predict", ["out=somewhere"]), PredictOptions)
