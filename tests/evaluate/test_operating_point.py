"""One operating point: what evaluation says of a run's images, prediction of the same files scores as well."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from rsna_det.config.check import check_config
from rsna_det.config.compose import compose_config
from rsna_det.config.console import set_up
from rsna_det.config.options import EvaluateOptions, PredictOptions
from rsna_det.data.layout import IMAGES_DIR
from rsna_det.errors import ConfigError
from rsna_det.evaluate.__main__ import evaluate
from rsna_det.evaluation.operating_point import read_operating_point
from rsna_det.evaluation.out_of_fold import open_runs
from rsna_det.evaluation.submission import read_submission
from rsna_det.evaluation.tables import CANDIDATES_SCHEMA, RunTables, read_table
from rsna_det.predict.job import predict_files
from rsna_det.runs.session import run as train
from tests.short_runs import TRAINING_WARNINGS, options_of

pytestmark = TRAINING_WARNINGS


def composed(name: str, out: Path, *overrides: str) -> dict[str, float]:
    """What a command does with its folder."""
    set_up()
    config = compose_config(name, [f"out={out}", *overrides])
    out.mkdir(exist_ok=True)
    if name == "predict":
        predict_files(check_config(config, PredictOptions))
        return {}
    config.run_dir = str(out)
    return evaluate(check_config(config, EvaluateOptions))


def go_all_the_way(root: Path, folder: Path, *overrides: str) -> tuple[dict[str, float], dict[str, float]]:
    """Train, evaluate the run, predict the files that it was validated on, evaluate that: the numbers of both."""
    run = folder / "run"
    train(options_of(root, run, "trainer.max_epochs=2", *overrides))
    of_run = composed("evaluate", folder / "of_run", f"runs={run}", "resamples=20")
    point = read_operating_point(run / "checkpoints" / "operating_point.yaml")
    files = [
        root / IMAGES_DIR / f"{image_id}.dcm"
        for image_id in open_runs([RunTables(run / "predictions")]).images["image_id"]
    ]
    checkpoint = run / "checkpoints" / f"epoch_{point.epoch:02d}.ckpt"
    composed(
        "predict",
        folder / "predicted",
        f"checkpoints={checkpoint}",
        f"images=[{','.join(map(str, files))}]",
        "pictures=false",
        "workers=1",
    )
    of_prediction = composed(
        "evaluate",
        folder / "of_prediction",
        f"predictions={folder / 'predicted'}",
        f"labels={root}",
        f"patients_csv={root / 'patients.csv'}",
        "resamples=20",
    )
    return of_run, of_prediction


@pytest.fixture(scope="module")
def both(
    synthetic_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, float], dict[str, float]]:
    """The folder of everything, and the numbers of the run and of the prediction."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, *go_all_the_way(synthetic_root, folder)


def test_evaluation_and_prediction_give_the_same_number(
    both: tuple[Path, dict[str, float], dict[str, float]],
) -> None:
    _, of_run, of_prediction = both
    assert of_run["map"] > 0
    for name, value in of_prediction.items():
        assert value == pytest.approx(of_run[name], abs=1e-6, nan_ok=True), name


def test_the_same_on_real_radiographs(real_data: Path, tmp_path: Path) -> None:
    of_run, of_prediction = go_all_the_way(real_data, tmp_path, "data.limit_images=24")
    assert of_run["map"] > 0
    assert of_prediction["map"] == pytest.approx(of_run["map"], abs=1e-6)
    assert of_prediction["images"] == of_run["images"]


def test_the_prediction_says_which_point_it_used(both: tuple[Path, dict[str, float], dict[str, float]]) -> None:
    folder = both[0]
    saved = read_operating_point(folder / "run" / "checkpoints" / "operating_point.yaml")
    assert read_operating_point(folder / "predicted" / "operating_point.yaml") == saved


def test_the_table_of_detections_is_what_was_submitted(both: tuple[Path, dict[str, float], dict[str, float]]) -> None:
    folder = both[0] / "predicted"
    table = read_table(folder / "detections.parquet", CANDIDATES_SCHEMA)
    for image_id, found in read_submission(folder / "submission.csv").items():
        rows = table[table["image_id"] == image_id]
        assert rows["score"].tolist() == found.scores.tolist()
        # x + width may round once more than x2.
        assert rows[["x1", "y1", "x2", "y2"]].to_numpy().ravel().tolist() == pytest.approx(
            found.boxes.flatten().tolist()
        )
    assert len(table) == sum(len(found.scores) for found in read_submission(folder / "submission.csv").values()) > 0


def test_scores_on_images_that_a_member_learnt_from_are_marked(
    both: tuple[Path, dict[str, float], dict[str, float]],
    synthetic_root: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    copied = Path(shutil.copytree(both[0] / "predicted", tmp_path / "predicted"))
    overrides = [f"predictions={copied}", f"labels={synthetic_root}", "resamples=5"]
    composed("evaluate", tmp_path / "out", *overrides)
    assert "were trained on" not in (tmp_path / "out" / "report.md").read_text()
    members = pd.read_csv(copied / "members.csv")
    members.assign(images_trained_on=2).to_csv(copied / "members.csv", index=False)
    composed("evaluate", tmp_path / "out", *overrides)
    for text in (caplog.text, (tmp_path / "out" / "report.md").read_text()):
        assert "1 of 1 members were trained on images of this prediction" in text


def test_size_rules_stand_beside_one_another(both: tuple[Path, dict[str, float], dict[str, float]]) -> None:
    folder, _, numbers = both
    rules = pd.read_csv(folder / "of_prediction" / "size_rules.csv").set_index("size_rule")
    # One member has no percentiles.
    assert list(rules.index) == ["none", "rescale"]
    assert rules.loc["none", "map"] == pytest.approx(numbers["map"], abs=1e-12)
    assert rules.loc["none", ["more_than_mean", "more_low", "more_high"]].tolist() == [0, 0, 0]
    expected = rules.loc["rescale", "map"] - rules.loc["none", "map"]
    assert rules.loc["rescale", "more_than_mean"] == pytest.approx(expected, abs=1e-12)
    assert "re-scaled" in (folder / "of_prediction" / "report.md").read_text()


def scored(
    both: tuple[Path, dict[str, float], dict[str, float]], root: Path, out: Path, *more: str
) -> dict[str, float]:
    overrides = [f"predictions={both[0] / 'predicted'}", f"labels={root}", "resamples=20", *more]
    return composed("evaluate", out, *overrides)


def test_a_list_of_ids_narrows_the_images(
    both: tuple[Path, dict[str, float], dict[str, float]], synthetic_root: Path, tmp_path: Path
) -> None:
    ids = sorted(read_submission(both[0] / "predicted" / "submission.csv"))
    (tmp_path / "ids.txt").write_text("\n".join(ids[:3]))
    assert scored(both, synthetic_root, tmp_path / "out", f"ids={tmp_path / 'ids.txt'}")["images"] == 3
    told = f"3 of {len(ids)} predicted images are on the list of ids and are scored. {len(ids) - 3} are not on the"
    assert told in (tmp_path / "out" / "report.md").read_text()
    (tmp_path / "ids.txt").write_text("\n".join([*ids, "another"]))
    with pytest.raises(ConfigError, match=r"1 of the \d+ ids of .* have no prediction: another"):
        scored(both, synthetic_root, tmp_path / "out", f"ids={tmp_path / 'ids.txt'}")


def test_a_table_of_boxes_alone_will_do(
    both: tuple[Path, dict[str, float], dict[str, float]], synthetic_root: Path, tmp_path: Path
) -> None:
    numbers = scored(both, synthetic_root / "stage_2_train_labels.csv", tmp_path / "out")
    count = int(numbers["images"])
    told = f"{count} of {count} predicted images have labels and are scored.\n"
    assert told in (tmp_path / "out" / "report.md").read_text()
    assert numbers["map"] == pytest.approx(both[2]["map"], abs=1e-12)
    kinds = pd.read_csv(tmp_path / "out" / "by_category.csv")["kind"].tolist()
    assert kinds == ["Lung Opacity", "category unknown"]


def test_without_a_patient_map_nothing_is_said_of_patients(
    both: tuple[Path, dict[str, float], dict[str, float]], synthetic_root: Path, tmp_path: Path
) -> None:
    scored(both, synthetic_root, tmp_path / "without")
    scored(both, synthetic_root, tmp_path / "with", f"patients_csv={synthetic_root / 'patients.csv'}")
    without, known = ((tmp_path / name / "report.md").read_text() for name in ("without", "with"))
    assert (known.count("over true patients"), without.count("over true patients")) == (2, 0)
    assert without.count("over images (without a patient map") == 2


def test_labels_of_an_unreadable_image_may_lie_anywhere(
    both: tuple[Path, dict[str, float], dict[str, float]], synthetic_root: Path, tmp_path: Path
) -> None:
    copied = Path(shutil.copytree(both[0] / "predicted", tmp_path / "predicted"))
    files = pd.read_csv(copied / "files.csv", dtype=str)
    unreadable, other = files["image_id"][:2]
    files.loc[0, ["width", "height"]] = ""
    files.to_csv(copied / "files.csv", index=False)
    labels = tmp_path / "labels.csv"
    header = "patientId,x,y,width,height,Target\n"
    labels.write_text(f"{header}{unreadable},1500,1200,300,100,1\n{other},1,2,30,40,1\n")
    overrides = [f"predictions={copied}", f"labels={labels}", "resamples=5"]
    numbers = composed("evaluate", tmp_path / "out", *overrides)
    assert numbers["images"] == 2
    text = (tmp_path / "out" / "report.md").read_text()
    assert f"2 of {len(files)} predicted images have labels and are scored. {len(files) - 2} have no labels" in text
    assert "1 of the scored images could not be read at prediction and count as images without detections." in text
    labels.write_text(f"{header}{unreadable},1500,1200,300,100,1\n{other},1500,2,30,40,1\n")
    with pytest.raises(ValueError, match=r"1 problem (.|\n)*row 3: box x=1500 .*outside its image of 64 x 64"):
        composed("evaluate", tmp_path / "out", *overrides)


NAMES = ["007", "1e5", "NA", "None", "nan", "null"]
"""What a reader of tables may take for a number or for nothing."""


def test_images_called_na_stay_what_they_are_called(
    both: tuple[Path, dict[str, float], dict[str, float]], synthetic_root: Path, tmp_path: Path
) -> None:
    ids = sorted(file.stem for file in (synthetic_root / IMAGES_DIR).iterdir())[: len(NAMES)]
    checkpoint = next((both[0] / "run" / "checkpoints").glob("epoch_*.ckpt"))
    numbers = [
        renamed_and_scored(synthetic_root, tmp_path / kind, checkpoint, names)
        for kind, names in (("plain", dict(zip(ids, ids, strict=True))), ("odd", dict(zip(ids, NAMES, strict=True))))
    ]
    assert numbers[1] == pytest.approx(numbers[0], nan_ok=True)
    assert numbers[1]["images"] == len(NAMES)
    for name in ("predicted/files.csv", "out/image_results.csv"):
        lines = (tmp_path / "odd" / name).read_text().splitlines()
        assert sorted(line.partition(",")[0] for line in lines[1:]) == NAMES
    assert sorted(read_submission(tmp_path / "odd" / "predicted" / "submission.csv")) == NAMES
    detected = read_table(tmp_path / "odd" / "predicted" / "detections.parquet", CANDIDATES_SCHEMA)
    assert set(detected["image_id"]) <= set(NAMES)


def renamed_and_scored(root: Path, folder: Path, checkpoint: Path, names: dict[str, str]) -> dict[str, float]:
    """Some images predicted and scored under other names, the scored ones named in a list."""
    (folder / "images").mkdir(parents=True)
    for image_id, name in names.items():
        shutil.copy(root / IMAGES_DIR / f"{image_id}.dcm", folder / "images" / f"{name}.dcm")
    for table in ("stage_2_train_labels.csv", "patients.csv"):
        frame = pd.read_csv(root / table, dtype=str, keep_default_na=False)
        frame = frame[frame["patientId"].isin(list(names))]
        frame.assign(patientId=frame["patientId"].map(names)).to_csv(folder / table, index=False)
    (folder / "ids.txt").write_text("\n".join(names.values()))
    given = f"checkpoints={checkpoint}", f"images={folder / 'images'}", "pictures=false", "workers=1"
    composed("predict", folder / "predicted", *given)
    return composed(
        "evaluate",
        folder / "out",
        f"predictions={folder / 'predicted'}",
        f"labels={folder / 'stage_2_train_labels.csv'}",
        f"patients_csv={folder / 'patients.csv'}",
        f"ids={folder / 'ids.txt'}",
        "resamples=20",
    )


def test_a_folder_without_a_prediction_is_refused(synthetic_root: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not the folder of a prediction"):
        composed("evaluate", tmp_path, f"predictions={tmp_path}", f"labels={synthetic_root}")
