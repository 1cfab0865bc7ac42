"""The Python API: the same boxes as the command's, one radiograph or a stream of them, and examples that run."""

import doctest
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian

import rsna_det
from rsna_det.config.check import check_config
from rsna_det.config.compose import compose_config
from rsna_det.config.options import PredictOptions
from rsna_det.data.dicom.limits import ONE_GREY_LEVEL, Limits
from rsna_det.data.dicom.reading import DicomError, read_radiograph
from rsna_det.errors import DataError, InvalidValueError, MissingFileError, ResourceError
from rsna_det.evaluation.metric import challenge_map
from rsna_det.evaluation.operating_point import OperatingPoint, write_operating_point
from rsna_det.evaluation.tables import CANDIDATES_SCHEMA, read_table
from rsna_det.predict.detector import Detector, Prediction
from rsna_det.predict.job import predict_files
from rsna_det.predict.pipeline import Images
from rsna_det.structures import DenseDeltas, Detections, HeadOutputs
from tests.checkpoints import write_checkpoint
from tests.short_runs import TRAINING_WARNINGS, environment

pytestmark = TRAINING_WARNINGS

NUMBERS = ["x1", "y1", "x2", "y2", "score"]


@pytest.fixture(scope="module")
def checkpoints(trained_folds: list[Path]) -> list[Path]:
    """Two members of one ensemble."""
    return [folder / "checkpoints" / "epoch_01.ckpt" for folder in trained_folds]


@pytest.fixture(scope="module")
def files(synthetic_root: Path) -> list[Path]:
    return sorted((synthetic_root / "stage_2_train_images").iterdir())[:5]


@pytest.fixture(scope="module")
def detector(checkpoints: list[Path]) -> Detector:
    return Detector.from_checkpoints(checkpoints, device="cpu", batch_size=2)


def rows(found: Detections) -> list[list[float]]:
    return torch.cat([found.boxes, found.scores[:, None]], dim=1).tolist()


def rows_of_command(out: Path, checkpoints: list[Path], files: list[Path], *overrides: str) -> list[list[list[float]]]:
    """What the command writes into its table of detections, file by file."""
    given = [
        f"checkpoints=[{','.join(map(str, checkpoints))}]",
        f"images=[{','.join(map(str, files))}]",
        *(f"out={out}", "pictures=false", "accelerator=cpu", "workers=1"),
    ]
    predict_files(check_config(compose_config("predict", [*given, *overrides]), PredictOptions))
    table = read_table(out / "detections.parquet", CANDIDATES_SCHEMA)
    return [table.loc[table["image_id"] == file.stem, NUMBERS].to_numpy().tolist() for file in files]


@pytest.mark.parametrize(
    ("members", "batch_size", "rule"),
    [(1, 1, "none"), (1, 2, "rescale"), (2, 1, "percentile"), (2, 2, "percentile"), (2, 1, "none"), (2, 8, "none")],
)
def test_the_boxes_are_those_of_the_command_to_the_last_digit(
    members: int, batch_size: int, rule: str, checkpoints: list[Path], files: list[Path], tmp_path: Path
) -> None:
    expected = rows_of_command(
        tmp_path / "out", checkpoints[:members], files, f"batch_size={batch_size}", f"size_rule={rule}"
    )
    assert sum(map(len, expected)) > len(files)
    detector = Detector.from_checkpoints(checkpoints[:members], device="cpu", size_rule=rule, batch_size=batch_size)
    streamed = [prediction.detections for prediction in detector.predict(files)]
    assert [rows(found) for found in streamed if found is not None] == expected
    if batch_size == 1:
        assert [rows(detector(file)) for file in files] == expected
        assert [rows(detector(read_radiograph(file))) for file in files] == expected


def test_scores_depend_on_the_batch_size_in_their_last_digits_at_most(detector: Detector, files: list[Path]) -> None:
    for prediction, alone in zip(detector.predict(files, batch_size=5), map(detector, files), strict=True):
        assert prediction.detections is not None
        # The last digit decides between boxes of nearly equal score: not all of them need to be the same.
        assert prediction.detections.scores[0].item() == pytest.approx(alone.scores[0].item(), rel=1e-4)


def test_boxes_lie_in_the_radiograph_whatever_its_shape(detector: Detector, files: list[Path]) -> None:
    pixels = read_radiograph(files[0])
    height, width = pixels.shape
    wide = np.repeat(np.repeat(pixels[: height // 2], 3, axis=0), 3, axis=1)
    found = detector(wide)
    assert len(found.scores) > 0
    assert found.boxes.amin() >= 0
    assert (found.boxes.amax(dim=0) <= torch.tensor([3, 1.5, 3, 1.5]) * torch.tensor([width, height] * 2)).all()
    assert found.boxes[:, 2].max() > 1.5 * width, "in pixels of the source, not of the network"
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)


def test_any_layout_in_memory_will_do(detector: Detector, files: list[Path]) -> None:
    pixels = read_radiograph(files[0])
    frozen = pixels.copy()
    frozen.flags.writeable = False
    mirrored = np.ascontiguousarray(pixels[:, ::-1])[:, ::-1]
    assert rows(detector(frozen)) == rows(detector(mirrored)) == rows(detector(pixels))


@pytest.mark.parametrize(
    ("image", "found"),
    [
        (np.zeros((64, 64)), r"a float64 array of shape \(64, 64\)"),
        (np.zeros((64, 64, 3), np.uint8), r"a uint8 array of shape \(64, 64, 3\)"),
        (np.zeros((0, 64), np.uint8), r"a uint8 array of shape \(0, 64\)"),
    ],
)
def test_other_images_are_refused(image: object, found: str, detector: Detector) -> None:
    with pytest.raises(
        InvalidValueError, match=rf"image is {found}; expected the path .* uint8 array \[height, width\]"
    ):
        detector(image)  # type: ignore[arg-type]


class TestStreaming:
    def test_order_and_repetitions_are_kept_and_a_damaged_file_stops_nothing(
        self, detector: Detector, files: list[Path], tmp_path: Path
    ) -> None:
        damaged = tmp_path / "damaged.dcm"
        damaged.write_bytes(files[0].read_bytes()[:400])
        given = [files[2], damaged, files[0], files[2], tmp_path / "missing.dcm"]
        predictions = list(detector.predict(map(str, given), batch_size=1))
        assert [prediction.path for prediction in predictions] == given
        assert [prediction.detections is None for prediction in predictions] == [False, True, False, False, True]
        problems = [prediction.problem for prediction in predictions if prediction.problem]
        assert [problem.partition(": ")[0] for problem in problems] == [str(damaged), str(tmp_path / "missing.dcm")]
        first, _, _, again, _ = [prediction.detections for prediction in predictions]
        assert first is not None
        assert again is not None
        assert rows(first) == rows(again)
        with pytest.raises(DicomError, match=r"damaged\.dcm"):
            detector(damaged)

    def test_files_are_taken_as_results_are(self, detector: Detector, files: list[Path]) -> None:
        taken: list[Path] = []

        def endless() -> Iterator[Path]:
            while True:
                taken.append(files[len(taken) % len(files)])
                yield taken[-1]

        predictions = detector.predict(endless(), batch_size=2)
        assert taken == []
        for _ in range(5):
            assert isinstance(next(predictions), Prediction)
        # Two batches predicted, the third begun, the fourth being read.
        assert len(taken) == 8

    def test_nothing_is_nothing(self, detector: Detector) -> None:
        assert list(detector.predict([])) == []

    def test_what_cannot_be_streamed_is_refused_at_once(self, detector: Detector, files: list[Path]) -> None:
        with pytest.raises(InvalidValueError, match="paths is a single path"):
            detector.predict(str(files[0]))
        with pytest.raises(InvalidValueError, match="batch_size is 0"):
            detector.predict(files, batch_size=0)


class TestFromCheckpoints:
    def test_a_glob_finds_the_members(self, checkpoints: list[Path]) -> None:
        glob = str(checkpoints[0].parents[2] / "*" / "checkpoints" / "epoch_01.ckpt")
        assert [member.path for member in Detector.from_checkpoints(glob, device="cpu").members] == checkpoints

    def test_an_operating_point_is_a_file_or_a_value(self, checkpoints: list[Path], tmp_path: Path) -> None:
        numbers = {"image_size": 64, "score_floor": 0.001, "max_candidates": 50, "nms_iou": 0.3, "relative_cut": 0.0}
        point = OperatingPoint(**numbers, cut=0.004)  # type: ignore[arg-type]
        write_operating_point(point, tmp_path / "mine.yaml", evidence={})
        for given in (point, tmp_path / "mine.yaml", str(tmp_path / "mine.yaml")):
            detector = Detector.from_checkpoints(
                checkpoints[0], device="cpu", operating_point=given, cut=0.006, nms_iou=0.5
            )
            assert detector.operating_point.max_candidates == 50
            assert (detector.operating_point.cut, detector.operating_point.nms_iou) == (0.006, 0.5)

    def test_cut_is_the_score_threshold(self, checkpoints: list[Path], files: list[Path]) -> None:
        scores = Detector.from_checkpoints(checkpoints[0], device="cpu")(files[0]).scores
        cut = scores[len(scores) // 2].item()
        few = Detector.from_checkpoints(checkpoints[0], device=torch.device("cpu"), cut=cut)(files[0]).scores
        assert few.tolist() == [score for score in scores.tolist() if score > cut] != []

    def test_mistakes_are_named(self, checkpoints: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        with pytest.raises(MissingFileError, match="no file or folder matches"):
            Detector.from_checkpoints("nowhere/*.ckpt")
        with pytest.raises(InvalidValueError, match="device is 'gpu'; expected auto, cpu, cuda or a device of torch"):
            Detector.from_checkpoints(checkpoints, device="gpu")
        with pytest.raises(ResourceError, match="device=cuda, and torch sees no GPU"):
            Detector.from_checkpoints(checkpoints, device="cuda")
        with pytest.raises(InvalidValueError, match=r"cut is 0\.0001, below the score floor"):
            Detector.from_checkpoints(checkpoints, cut=0.0001)
        with pytest.raises(InvalidValueError, match="batch_size is 0"):
            Detector.from_checkpoints(checkpoints, batch_size=0)


@pytest.mark.parametrize(
    ("error", "place"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "the GPU"),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
            "this machine",
        ),
        (MemoryError(), "this machine"),
    ],
)
def test_too_little_memory_is_explained(
    error: BaseException, place: str, checkpoints: list[Path], files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = Detector.from_checkpoints(checkpoints, device="cpu")

    def full(images: torch.Tensor) -> None:
        raise error

    monkeypatch.setattr(detector._pipeline.network(0), "forward", full)
    with pytest.raises(
        ResourceError, match=f"{place} has too little memory for a batch of 5 images at 64 px: lower batch_size"
    ):
        list(detector.predict(files))


def test_a_doubt_about_the_pixels_can_be_accepted(checkpoints: list[Path], files: list[Path], tmp_path: Path) -> None:
    """A radiograph of one grey level is a problem, unless it is wanted."""
    path = tmp_path / "blank.dcm"
    dataset = dcmread(files[0])
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.PixelData = b"\7" * (dataset.Rows * dataset.Columns)
    dataset.save_as(path)
    strict = Detector.from_checkpoints(checkpoints[:1], device="cpu")
    with pytest.raises(DicomError, match="the same grey level, 7"):
        strict(path)
    accept = Limits(accept=frozenset([ONE_GREY_LEVEL]))
    lenient = Detector.from_checkpoints(checkpoints[:1], device="cpu", limits=accept)
    assert lenient(path).boxes.shape[1] == 4
    assert [result.problem is None for result in lenient.predict([path])] == [True]


def test_the_metric_takes_what_the_detector_gives(detector: Detector, files: list[Path]) -> None:
    found = detector(files[0])
    assert challenge_map(detections=[found], truths=[found.boxes[:1]]) > 0


def test_the_examples_of_the_documentation_run(
    synthetic_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for run in ("a", "b"):
        write_checkpoint(tmp_path / "runs" / run / "checkpoints" / "best.ckpt")
    shutil.copy(next((synthetic_root / "stage_2_train_images").iterdir()), tmp_path / "radiograph.dcm")
    monkeypatch.chdir(tmp_path)
    given = {"detector": Detector.from_checkpoints("runs/a/checkpoints/best.ckpt"), "Detector": Detector}
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for documented in (rsna_det, Detector):
        for test in finder.find(documented, module=False, extraglobs=given):
            runner.run(test)
    results = runner.summarize(verbose=False)
    assert results.failed == 0
    assert results.attempted >= 10


def test_the_package_and_help_do_without_torch() -> None:
    """Whoever asks for an option does not wait for torch."""
    script = (
        "import runpy, sys, rsna_det\n"
        "assert 'Detector' in dir(rsna_det) and 'torch' not in sys.modules\n"
        "sys.argv = ['predict', '--help']\n"
        "try:\n    runpy.run_module('rsna_det.predict', run_name='__main__')\n"
        "except SystemExit:\n    pass\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment(), check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "checkpoints" in done.stdout


def test_other_names_are_none_of_the_packages() -> None:
    with pytest.raises(AttributeError, match="module 'rsna_det' has no attribute 'Detectr'"):
        rsna_det.Detectr  # type: ignore[attr-defined]  # noqa: B018
    assert set(rsna_det.__all__) <= set(dir(rsna_det))


@pytest.mark.parametrize("part", ["box_logits", "box_deltas", "global_logits"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_outputs_that_are_not_finite_are_no_boxes_but_a_problem(
    part: str, value: float, checkpoints: list[Path], files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One member spoils the second image of the second batch: that image alone is not predicted."""
    detector = Detector.from_checkpoints(checkpoints, device="cpu", batch_size=2)
    sound = list(detector.predict(files))
    outputs = detector._pipeline.outputs

    def spoilt(index: int, images: Images) -> HeadOutputs:
        found = outputs(index, images)
        if index == 1 and {"3", str(files[3])} & set(images.ids):
            deltas = part == "box_deltas"
            numbers = (found.box_deltas.dense() if deltas else getattr(found, part)).clone()
            numbers[-1].view(-1)[0] = value
            return replace(found, **{part: DenseDeltas(values=numbers) if deltas else numbers})
        return found

    monkeypatch.setattr(detector._pipeline, "outputs", spoilt)
    predictions = list(detector.predict(files))
    assert [prediction.detections is None for prediction in predictions] == [False, False, False, True, False]
    message = predictions[3].problem
    assert message is not None
    assert message.startswith(f"{checkpoints[1]} gives NaN or infinity for it, which is not the same as no boxes")
    for one, other in zip(sound, predictions, strict=True):
        if other.detections is not None and one.detections is not None:
            assert rows(one.detections) == rows(other.detections)
    with pytest.raises(DataError, match=rf"{files[3].name}: .* gives NaN or infinity"):
        detector(files[3])
