"""What a GPU does in training, validation and prediction, traced without one: no mixed devices, and no waiting."""

import inspect
from collections import Counter
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from pytorch_lightning import Trainer
from pytorch_lightning.trainer.connectors.logger_connector.result import _ResultCollection
from torch import Tensor
from torch._subclasses import FakeTensor, FakeTensorMode

from rsna_det.boxes.host import to_host
from rsna_det.data.datamodule import RsnaDataModule
from rsna_det.evaluation.operating_point import OperatingPoint
from rsna_det.predict.members import Member
from rsna_det.predict.pipeline import Images, Pipeline
from rsna_det.structures import Batch
from rsna_det.training.callbacks import FiniteLoss, PredictionWriter
from rsna_det.training.losses import batch_losses
from rsna_det.training.module import DetectorModule
from tests.fake_gpu import FakeGpu, fake_gpu
from tests.training.test_module import batch, module

GRID = [0.1, 0.3, 0.1]
POINT = OperatingPoint(
    cut=0.15,
    score_floor=0.025,
    max_candidates=20,
    nms_iou=0.05,
    relative_cut=0.5,
    size_rule="none",
    size_scale=1.6,
    rescale_factor=1.0,
    image_size=64,
)


def on_gpu(gpu: FakeGpu, detector: DetectorModule) -> DetectorModule:
    gpu.hold(detector)
    detector.metrics.to("cuda")
    return detector


def loaded(detector: DetectorModule, given: Batch) -> Batch:
    """A batch as it leaves a loader's worker."""
    return detector.target_maker(given.images.shape[-1])(given)


def moved(prepared: Batch) -> Batch:
    """A batch on the device, as Lightning has the data module move it."""
    return RsnaDataModule.transfer_batch_to_device(Mock(spec=RsnaDataModule), prepared, torch.device("cuda"), 0)


def without_positives() -> Batch:
    return replace(batch(), box_mask=torch.zeros(2, 1, dtype=torch.bool))


class TestTheFakeGpu:
    """It fails where a GPU would, and notes what the host waits for: else the tests below say nothing."""

    def test_mixed_devices_raise(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with fake_gpu(monkeypatch), pytest.raises(Exception, match="FakeTensor"):
            torch.ones(2, device="cuda") + torch.ones(2)

    @pytest.mark.parametrize(
        ("asks", "why"),
        [
            (lambda x: x.sum().item(), "item"),
            (lambda x: x[0].tolist(), "item"),
            (lambda x: x.cpu(), "copy to cpu"),
            (lambda x: bool((x > 0).any()), "item"),
            (lambda x: x.copy_(torch.ones(3)), "copy to cuda"),
            (lambda x: torch.ones(3).to(x.device), "copy to cuda"),
            (lambda x: torch.tensor([1.0, 2, 3], device=x.device), "copy to cuda"),
            (lambda x: x.new_tensor([1.0, 2, 3]), "copy to cuda"),
            (lambda x: torch.as_tensor(1.0, device=x.device), "copy to cuda"),
            (lambda x: to_host(x, x), "synchronize"),
        ],
    )
    def test_each_wait_is_noted_once(self, asks: object, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
        with fake_gpu(monkeypatch) as gpu:
            asks(torch.zeros(3, device="cuda"))  # type: ignore[operator]
        assert gpu.waits == Counter({why: 1})

    @pytest.mark.parametrize("asks", [lambda x: x.nonzero(), lambda x: x[x > 0], lambda x: x.bincount()])
    def test_shapes_that_depend_on_values_raise(self, asks: object, monkeypatch: pytest.MonkeyPatch) -> None:
        with fake_gpu(monkeypatch), pytest.raises(Exception, match=r"nonzero|bincount|DynamicOutputShape"):
            asks(torch.zeros(3, dtype=torch.long, device="cuda"))  # type: ignore[operator]

    def test_copies_that_nobody_waits_for_are_not_noted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with fake_gpu(monkeypatch) as gpu:
            moved = torch.ones(3).to("cuda", non_blocking=True)
            moved.to("cpu", non_blocking=True)
            assert moved.device.type == "cuda"
        assert not +gpu.waits


def with_logging(detector: DetectorModule) -> _ResultCollection:
    """Lightning's own, as a Trainer has it."""
    results = _ResultCollection(training=True)

    def log(name: str, value: Tensor, **options: object) -> None:
        options.pop("sync_dist", None)
        results.log("training_step", name, value, **options)  # type: ignore[arg-type]

    detector.log = log  # type: ignore[assignment, method-assign]
    detector.log_dict = lambda values, **options: [log(name, v, **options) for name, v in values.items()]  # type: ignore[assignment, method-assign, return-value]
    return results


@pytest.mark.parametrize("given", [batch, without_positives])
@pytest.mark.parametrize("global_head", [True, False])
def test_a_training_step_waits_for_nothing(given: object, global_head: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = module(cut_grid=GRID, global_head=global_head)
    prepared = loaded(detector, given())  # type: ignore[operator]
    with fake_gpu(monkeypatch) as gpu:
        on_gpu(gpu, detector)
        logged, finite = with_logging(detector), FiniteLoss()
        for step in range(2):
            # The first logs into values that are made for it.
            gpu.waits.clear()
            loss = detector.training_step(moved(prepared), step)
            # Lightning does so after every step.
            logged.metrics(on_step=True)
            finite.on_train_batch_end(Mock(spec=Trainer), detector, {"loss": loss}, None, step)
        assert loss.device.type == "cuda"
        assert loss.requires_grad
    assert not +gpu.waits


def test_the_backward_pass_asks_for_nothing() -> None:
    """On fake tensors of the CPU: the autograd engine needs a GPU's driver for those of a GPU."""
    detector = module(cut_grid=GRID)
    real = loaded(detector, batch())
    assert real.targets is not None
    mode = FakeTensorMode(allow_non_fake_inputs=False)
    for part in detector.model.modules():
        for name, parameter in part.named_parameters(recurse=False):
            setattr(part, name, torch.nn.Parameter(mode.from_tensor(parameter.detach())))
        for name, buffer in part.named_buffers(recurse=False):
            setattr(part, name, mode.from_tensor(buffer))

    def fake(tensor: Tensor) -> Tensor:
        return mode.from_tensor(tensor)

    windows = real.targets.windows
    assert windows is not None
    targets = replace(
        real.targets,
        labels=fake(real.targets.labels),
        image=fake(real.targets.image),
        anchor=fake(real.targets.anchor),
        deltas=fake(real.targets.deltas),
        windows=replace(windows, places=fake(windows.places), order=fake(windows.order)),
    )
    images, categories = fake(real.images), fake(real.categories)
    with mode:
        losses = batch_losses(outputs=detector(images), targets=targets, categories=categories)
        # An operation whose result depends on values raises.
        torch.autograd.backward(detector.loss(losses))
    gradients = [parameter.grad for parameter in detector.model.parameters()]
    assert all(isinstance(gradient, FakeTensor) for gradient in gradients)


@pytest.mark.parametrize("global_head", [True, False])
def test_a_validation_step_waits_for_its_candidates_alone(
    global_head: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = module(cut_grid=GRID, global_head=global_head).eval()
    prepared = loaded(detector, batch())
    writer = PredictionWriter(folder=str(tmp_path))
    with fake_gpu(monkeypatch) as gpu, torch.no_grad():
        on_gpu(gpu, detector)
        for _ in range(2):
            # The first batch brings the anchors to the device.
            gpu.waits.clear()
            given = moved(prepared)
            output = detector.validation_step(given, 0)
            writer.on_validation_batch_end(Mock(spec=Trainer), detector, output, given)
    assert output.candidates.boxes.device.type == "cpu"
    # For the anchors whose boxes are regressed, for these, and for the probabilities.
    assert +gpu.waits == Counter({"synchronize": 2 + global_head})


@pytest.mark.parametrize("members", [1, 2])
def test_a_prediction_waits_once_or_twice_for_each_member(members: int, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = module(cut_grid=GRID).eval()
    levels = detector.model.levels
    pipeline = Pipeline(
        members=[Mock(spec=Member, levels=levels, path=Path("a.ckpt"))] * members,
        point=POINT,
        device=torch.device("cuda"),
        keep_networks=True,
        every_size_rule=False,
    )
    images = Images(ids=("a", "b"), sizes=torch.tensor([[128, 128], [128, 100]]), pixels=batch().images)
    with fake_gpu(monkeypatch) as gpu, torch.no_grad():
        gpu.hold(detector)
        pipeline._networks = dict.fromkeys(range(members), detector.model)
        # Without inference mode, in which fake tensors know no devices.
        outputs = inspect.unwrap(Pipeline.outputs)
        found = [outputs(pipeline, index, images) for index in range(members)]
    # Of one member also for the anchors whose boxes are regressed.
    assert +gpu.waits == Counter({"synchronize": 2 if members == 1 else members})
    predicted = pipeline.decode(images, found)
    assert predicted.mean.boxes.shape[0] == 2
