"""A prediction killed at any of its commits, and started again, ends with the files of one that was not."""

import shutil
from pathlib import Path

import pytest
from hypothesis import settings

from rsna_det.config.check import check_config
from rsna_det.config.compose import compose_config
from rsna_det.config.options import PredictOptions
from rsna_det.errors import InUseError
from rsna_det.predict.folder import is_finished, write_part
from rsna_det.predict.job import predict_files
from tests.faults.killing import Kill, Moment, commits, files_of, killed
from tests.short_runs import TRAINING_WARNINGS

pytestmark = TRAINING_WARNINGS

IMAGES = 3


class Prediction:
    """One of three images, a part each, with one picture."""

    def __init__(self, checkpoint: Path, images: Path, place: Path) -> None:
        self.place, self.log = place, place / "log.txt"
        self.few = place / "few"
        self.few.mkdir()
        for path in sorted(images.glob("*.dcm"))[:IMAGES]:
            shutil.copy(path, self.few)
        self.checkpoint = checkpoint
        self.whole = place / "whole"
        self.commits = commits(lambda: self.predict(self.whole), log=self.log)

    def predict(self, out: Path, **changes: object) -> None:
        config = compose_config("predict", [])
        given = {"checkpoints": str(self.checkpoint), "images": str(self.few), "out": str(out), "pictures": 1}
        small = {"accelerator": "cpu", "batch_size": 1, "memory_gb": 1e-6, "workers": 1}
        for key, value in (given | small | changes).items():
            config[key] = value
        predict_files(check_config(config, PredictOptions))

    def check(self, number: int, moment: Moment) -> None:
        """Kill it, start it again, compare."""
        out = self.place / f"{number}_{moment}"
        killed(lambda: self.predict(out), Kill(number, moment), log=self.log)
        try:
            self.predict(out)
        except InUseError:
            assert is_finished(out)
        assert files_of(out) == files_of(self.whole)
        assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in self.whole.iterdir())


@pytest.fixture(scope="module")
def prediction(trained_folds: list[Path], synthetic_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Prediction:
    checkpoint = trained_folds[0] / "checkpoints" / "epoch_01.ckpt"
    return Prediction(checkpoint, synthetic_root / "stage_2_train_images", tmp_path_factory.mktemp("predictions"))


def test_the_parts_lose_their_name_last_and_at_once(prediction: Prediction) -> None:
    assert prediction.commits[-2] == "submission.csv"
    assert prediction.commits[-1].startswith("parts.removed")


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("name", ["fingerprint.json", "000001.part.json", "submission.csv", "parts.removed"])
def test_a_prediction_killed_at_a_commit_ends_with_the_same_files(
    prediction: Prediction, name: str, moment: Moment
) -> None:
    (number,) = (i for i, committed in enumerate(prediction.commits) if committed.startswith(name))
    prediction.check(number, moment)


@pytest.mark.hypothesis
@pytest.mark.skipif(settings().max_examples < 1000, reason="minutes: make fuzz")
def test_every_commit_of_a_prediction(prediction: Prediction) -> None:
    for number in range(len(prediction.commits)):
        for moment in ("before", "after"):
            prediction.check(number, moment)  # type: ignore[arg-type]


def test_a_part_does_not_replace_another_where_one_is_missing(prediction: Prediction) -> None:
    out = prediction.place / "gap"
    number = prediction.commits.index("000002.part.json")
    killed(lambda: prediction.predict(out), Kill(number, "before"), log=prediction.log)
    for path in (out / "parts").glob("000000.*"):
        path.unlink()
    kept = (out / "parts" / "000001.part.json").read_text()
    numbers: list[int] = []

    def noted(folder: Path, *, number: int, **options: object) -> object:
        numbers.append(number)
        return write_part(folder, number=number, **options)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("rsna_det.predict.resumable.write_part", noted)
        prediction.predict(out)
    assert numbers == [2, 3]
    assert kept
    # The images come in another order, whose boxes are the same.
    assert sorted((out / "submission.csv").read_text().splitlines()) == sorted(
        (prediction.whole / "submission.csv").read_text().splitlines()
    )


def test_files_of_a_prediction_without_its_parts_are_not_replaced(prediction: Prediction, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(prediction.whole, out)
    (out / "submission.csv").unlink()
    before = files_of(out)
    with pytest.raises(InUseError, match="holds files of another prediction"):
        prediction.predict(out)
    assert files_of(out) == before
    prediction.predict(out, overwrite=True)
    assert files_of(out) == files_of(prediction.whole)
