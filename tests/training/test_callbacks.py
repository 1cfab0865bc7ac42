"""Freezing, seeding, NaN and sheets of detections, on a network of two layers and a stand-in for the Trainer."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pyarrow as pa
import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.trainer.states import TrainerFn
from torch import nn

from rsna_det.drawing.boxes import BoxedImage
from rsna_det.errors import DivergedError, InvalidValueError
from rsna_det.structures import Batch, Category, Detections
from rsna_det.training.callbacks import DetectionImages, EncoderFreeze, EpochSeed, FiniteLoss
from rsna_det.training.gather import gather_tables
from rsna_det.training.module import DetectorModule
from rsna_det.training.validation import ValidationOutput


def trainer(**facts: object) -> Any:
    """What passes for a Trainer and knows the given facts."""
    return Mock(spec=Trainer, **({"current_epoch": 0, "global_rank": 0, "is_global_zero": True} | facts))


class Detector(LightningModule):
    """An encoder and a head, one number each."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.ModuleDict({"encoder": nn.Linear(1, 1, bias=False), "head": nn.Linear(1, 1, bias=False)})
        self.model.encoder = self.model["encoder"]


@pytest.mark.parametrize(("epochs", "epoch", "frozen"), [(0, 0, False), (1, 0, True), (1, 1, False), (2, 1, True)])
def test_a_frozen_encoder_gets_no_gradient_and_the_head_does(epochs: int, epoch: int, frozen: bool) -> None:
    detector = Detector()
    for parameter in detector.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer = torch.optim.Adam(detector.parameters())
    freeze = EncoderFreeze(epochs=epochs)
    freeze.on_before_optimizer_step(trainer(current_epoch=epoch), detector, optimizer)
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    optimizer.step()
    after = detector.state_dict()
    assert torch.equal(before["model.encoder.weight"], after["model.encoder.weight"]) == frozen
    assert not torch.equal(before["model.head.weight"], after["model.head.weight"])


def drawn(*, seed: int, epoch: int, rank: int) -> float:
    EpochSeed(seed=seed).on_train_epoch_start(trainer(current_epoch=epoch, global_rank=rank), Detector())
    return torch.rand(()).item()


def test_seeds_repeat_and_differ_between_runs_epochs_and_devices() -> None:
    draws = [drawn(seed=s, epoch=e, rank=r) for s in range(3) for e in range(3) for r in range(3)]
    assert len(set(draws)) == 27
    assert drawn(seed=1, epoch=2, rank=0) == drawn(seed=1, epoch=2, rank=0)


def agreeing(*, others: bool) -> SimpleNamespace:
    """A strategy of several devices, the others of which decide alike."""
    return SimpleNamespace(reduce_boolean_decision=lambda decision, **_: decision and others)


def validated(images_not_finite: int) -> Any:
    """A detector whose validation had so many images without finite outputs."""
    return Mock(spec=DetectorModule, metrics=SimpleNamespace(images_not_finite=images_not_finite))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("hook", ["on_validation_start", "on_train_epoch_end"])
def test_one_step_without_a_finite_loss_ends_the_run_before_validation(bad: float, hook: str) -> None:
    watch = FiniteLoss()
    fitting = trainer(strategy=agreeing(others=True))
    for losses in ([0.3, 0.2, 0.2], [0.3, bad, 0.2]):
        watch.on_train_epoch_start(fitting, Detector())
        for step, loss in enumerate(losses):
            watch.on_train_batch_end(fitting, Detector(), {"loss": torch.tensor(loss)}, None, step)
        if bad not in losses:
            getattr(watch, hook)(fitting, Detector())
    with pytest.raises(DivergedError, match=r"epoch 0 is NaN or infinite: lower `optimizer\.optimizer\.lr`"):
        getattr(watch, hook)(fitting, Detector())


def test_a_loss_that_is_not_finite_on_another_device_ends_the_run_on_this_one_too() -> None:
    watch = FiniteLoss()
    fitting = trainer(strategy=agreeing(others=False))
    watch.on_train_batch_end(fitting, Detector(), {"loss": torch.tensor(0.3)}, None, 0)
    with pytest.raises(DivergedError):
        watch.on_validation_start(fitting, Detector())


def test_outputs_that_are_not_finite_end_a_training_and_not_a_mere_validation() -> None:
    watch = FiniteLoss()
    watch.on_validation_epoch_end(trainer(state=SimpleNamespace(fn=TrainerFn.VALIDATING)), validated(3))
    fitting = trainer(state=SimpleNamespace(fn=TrainerFn.FITTING))
    watch.on_validation_epoch_end(fitting, validated(0))
    with pytest.raises(DivergedError, match=r"outputs for 3 validation images of epoch 0 are NaN or infinite"):
        watch.on_validation_epoch_end(fitting, validated(3))


def test_an_encoder_frozen_for_a_negative_number_of_epochs_is_refused() -> None:
    with pytest.raises(InvalidValueError, match=r"encoder_freeze\.epochs is -1"):
        EncoderFreeze(epochs=-1)


@pytest.mark.parametrize(("count", "columns", "side"), [(-1, 4, 64), (4, 0, 64), (4, 4, 8)])
def test_an_impossible_sheet_is_refused(count: int, columns: int, side: int) -> None:
    with pytest.raises(
        InvalidValueError, match=rf"callbacks\.images has count {count}, columns {columns} and side {side};"
    ):
        DetectionImages(folder="x", count=count, columns=columns, side=side)


def test_gathered_rows_are_sorted_by_image_and_keep_their_order_within_one() -> None:
    parts = [
        pa.table({"image_id": pa.array(["b", "b"]).dictionary_encode(), "score": [0.9, 0.5]}),
        pa.table({"image_id": pa.array(["a", "c"]).dictionary_encode(), "score": [0.1, 0.2]}),
    ]
    table = gather_tables(parts)
    assert table is not None
    assert table["image_id"].to_pylist() == ["a", "b", "b", "c"]
    assert table["score"].to_pylist() == [0.1, 0.9, 0.5, 0.2]
    assert gather_tables([]) is None


class Taker:
    """A logger that takes detections."""

    def __init__(self) -> None:
        self.taken: list[Any] = []

    def log_detections(self, key: str, images: list[BoxedImage], *, epoch: int, cut: float) -> None:
        self.taken.append((key, images, epoch, cut))


def test_loggers_get_the_boxes_that_are_drawn_in_the_pixels_of_the_picture(tmp_path: Path) -> None:
    """A radiograph of 200 x 100 (height x width) in a square of 64: source pixels times 64 / 200 = 0.32."""
    batch = Batch(
        images=torch.zeros(1, 1, 64, 64, dtype=torch.uint8),
        boxes=torch.zeros(1, 2, 4),
        box_mask=torch.zeros(1, 2, dtype=torch.bool),
        source_boxes=torch.tensor([[[50.0, 100, 75, 150], [0, 0, 0, 0]]]),
        source_box_mask=torch.tensor([[True, False]]),
        categories=torch.tensor([Category.OPACITY]),
        source_sizes=torch.tensor([[200, 100]]),
        image_ids=("0123456789",),
        folds=(0,),
        true_patients=("p",),
    )
    found = Detections(boxes=torch.tensor([[25.0, 50, 100, 200], [0, 0, 10, 10]]), scores=torch.tensor([0.75, 0.25]))
    module = Mock(spec=DetectorModule)
    module.detections_before_cut.return_value = [found]
    taker, pictures = Taker(), Mock(spec=["log_image"])
    fitting = trainer(
        current_epoch=3,
        state=SimpleNamespace(fn=TrainerFn.FITTING),
        callback_metrics={"val/cut_best": torch.tensor(0.25)},
        loggers=[taker, pictures, Mock(spec=["log_metrics"])],
    )
    images = DetectionImages(folder=str(tmp_path), count=1, columns=1, side=64)
    images.on_validation_epoch_start(fitting, module)
    images.on_validation_batch_end(fitting, module, Mock(spec=ValidationOutput, candidates=None), batch, 0)
    images.on_validation_end(fitting, module)
    ((key, (image,), epoch, cut),) = taker.taken
    assert (key, epoch, cut, image.caption) == ("val/detections", 3, 0.25, "opacity 01234567")
    # 25, 50, 100, 200 times 0.32; the other box does not score above the cut
    assert image.detections.boxes.tolist() == [pytest.approx([8, 16, 32, 64])]
    assert image.detections.scores.tolist() == [0.75]
    # 50, 100, 75, 150 times 0.32
    assert image.truths.tolist() == [pytest.approx([16, 32, 24, 48])]
    pictures.log_image.assert_called_once_with(
        "val/detections", [str(tmp_path / "epoch_03.png")], caption=["score above 0.25"]
    )
    assert (tmp_path / "epoch_03.png").is_file()
