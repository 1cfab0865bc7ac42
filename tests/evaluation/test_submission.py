"""The challenge's CSV: what is written is read back to the bit, and a file that breaks a rule is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch

from rsna_det.errors import DataError, MissingFileError
from rsna_det.evaluation.metric import challenge_map
from rsna_det.evaluation.submission import prediction_string, read_submission, validate_submission, write_submission
from rsna_det.structures import Detections

GOOD = "patientId,PredictionString\na,0.5 10 20 30 40 0.25 0 0 1024 1024\nb,\n"


def found(seed: int, count: int, side: float = 1024.0) -> Detections:
    """Boxes with real corners, some of them at the image's edge and some very near to it."""
    rng = np.random.default_rng(seed)
    corners = np.sort(rng.uniform(0, side, (count, 2, 2)), axis=1).reshape(count, 4).astype(np.float32)
    corners[:, :2][rng.random((count, 2)) < 0.1] *= np.float32(1e-9)
    corners[:, 2:][rng.random((count, 2)) < 0.3] = side
    scores = np.sort(rng.uniform(0, 1, count).astype(np.float32))[::-1].copy()
    return Detections(boxes=torch.from_numpy(corners), scores=torch.from_numpy(scores))


def save(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "submission.csv"
    path.write_text(text)
    return path


def problems(tmp_path: Path, text: str, **options: object) -> str:
    with pytest.raises(DataError, match=r"submission\.csv is not a valid submission") as caught:
        validate_submission(save(tmp_path, text), expected_ids=["a", "b"], **options)  # type: ignore[arg-type]
    return str(caught.value)


def test_every_number_comes_back_to_the_bit(tmp_path: Path) -> None:
    written = {f"image{i}": found(i, i) for i in range(40)}
    path = tmp_path / "submission.csv"
    write_submission(written, path)
    validate_submission(path, expected_ids=list(written), sizes=dict.fromkeys(written, (1024, 1024)))
    read = read_submission(path)
    assert list(read) == list(written)
    for image_id, boxes in written.items():
        assert torch.equal(read[image_id].boxes, boxes.boxes)
        assert torch.equal(read[image_id].scores, boxes.scores)
    assert [file.name for file in tmp_path.iterdir()] == ["submission.csv"]


def test_the_score_of_what_is_read_is_that_of_what_was_written(tmp_path: Path) -> None:
    written = {f"image{i}": found(i, 3, side=60) for i in range(30)}
    truths = [found(100 + i, 2, side=60).boxes for i in range(30)]
    write_submission(written, tmp_path / "s.csv")
    before = challenge_map(detections=list(written.values()), truths=truths)
    assert challenge_map(detections=list(read_submission(tmp_path / "s.csv").values()), truths=truths) == before
    assert before > 0


def test_numbers_are_short_and_plain() -> None:
    boxes = torch.tensor([[700.1, 0.5, 1024, 1e-5], [700.1, 0, 1024, 12.25]])
    # 1024 - 700.1 is 323.9 in decimals, the first box has no height
    text = prediction_string(Detections(boxes=boxes, scores=torch.tensor([0.9, 0.1])))
    assert text == "0.1 700.1 0 323.9 12.25"
    tiny = Detections(boxes=torch.tensor([[1e-8, 0, 3, 4]]), scores=torch.tensor([1e-6]))
    assert prediction_string(tiny) == "0.000001 0.00000001 0 2.99999999 4"
    assert prediction_string(Detections(boxes=torch.zeros(0, 4), scores=torch.zeros(0))) == ""


def test_boxes_of_any_order_are_read_in_falling_order_of_score(tmp_path: Path) -> None:
    text = "patientId,PredictionString\na,0.2 0 0 1 1 0.8 5 6 7 8\n"
    read = read_submission(save(tmp_path, text))["a"]
    assert read.scores.tolist() == pytest.approx([0.8, 0.2])
    assert read.boxes.tolist() == [[5, 6, 12, 14], [0, 0, 1, 1]]


def test_a_good_file_passes(tmp_path: Path) -> None:
    validate_submission(save(tmp_path, GOOD), expected_ids=["b", "a"], sizes={"a": (1024, 1024)})
    assert len(read_submission(tmp_path / "submission.csv")["b"].scores) == 0


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("patientId,P", "patientid,P", "the header is patientid"),
        (GOOD, "", "the header is missing"),
        ("b,\n", "b\n", "row 3: 1 cells; expected 2"),
        ("b,\n", "", "image 'b' is missing"),
        ("b,\n", "b,\nb,\n", "image 'b' appears 2 times"),
        ("b,\n", "b,\nc,\n", "row 4: image 'c' is not among the expected"),
        (" 1024 1024", " 1024", "row 2: image 'a' has 9 numbers; expected groups of five"),
        ("0.5 10", "0.5 ten", "'ten'; expected finite numbers"),
        ("0.5 10", "0.5 nan", "'nan'; expected finite numbers"),
        ("0.5 10", "0 10", "score 0; expected above 0"),
        ("0.5 10", "1.5 10", "score 1.5; expected above 0"),
        ("30 40", "0 40", "a box of 0 x 40; expected a positive"),
        ("30 40", "30 -4", "a box of 30 x -4; expected a positive"),
        ("10 20 30 40", "-1 20 30 40", "reaches outside"),
        ("10 20 30 40", "10 990 30 40", "box 10 990 30 40 reaches outside the image of 1024 x 1024 pixels"),
        ("10 20 30 40", "1000 20 30 40", "reaches outside"),
        (GOOD, 'patientId,PredictionString\n"a', "not a CSV"),
    ],
)
def test_every_rule_is_checked(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert message in problems(tmp_path, GOOD.replace(old, new), sizes={"a": (1024, 1024)})


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    message = problems(tmp_path, "patientId,PredictionString\na,2 0 0 1 0\n")
    assert "3 problems" in message
    assert all(part in message for part in ("score 2", "a box of 1 x 0", "'b' is missing"))


def test_a_damaged_file_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="score 2; expected"):
        read_submission(save(tmp_path, "patientId,PredictionString\na,2 0 0 1 1\n"))
    with pytest.raises(MissingFileError, match="no submission"):
        read_submission(tmp_path / "other.csv")


def test_a_disk_that_is_full_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path, GOOD)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match=r"submission\.csv could not be written"):
        write_submission({"a": found(0, 1)}, path)
    assert path.read_text() == GOOD
    assert list(tmp_path.iterdir()) == [path]
