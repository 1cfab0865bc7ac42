"""Settings of the hardware: what they set, that they change no more than last digits, and that graphs stay whole."""

import subprocess
import sys
from functools import partial
from unittest.mock import Mock

import pytest
import torch
from pytorch_lightning import Trainer
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from rsna_det.training.hardware import Hardware
from tests.short_runs import environment
from tests.training.test_gradients import ENCODERS, SIDE, encoder_of, loss_of, network_of
from tests.training.test_module import batch, module

GRID = [0.1, 0.3, 0.1]
RAISE_ON_CUDA = (
    *("_adaptive_avg_pool2d_backward", "adaptive_max_pool2d_backward", "fractional_max_pool2d_backward"),
    *("max_pool3d_with_indices_backward", "avg_pool3d_backward", "nll_loss2d_forward", "kthvalue", "put_", "histc"),
    *("upsample_bilinear2d_backward", "upsample_bicubic2d_backward", "upsample_linear1d_backward"),
    *("reflection_pad2d_backward", "replication_pad2d_backward", "grid_sampler_2d_backward", "bincount", "median"),
    *("_ctc_loss", "_embedding_bag", "max_unpool2d"),
)
"""Of torch.use_deterministic_algorithms' list, what raises on a GPU."""


@pytest.fixture(autouse=True)
def flags_as_before() -> object:
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    yield
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]
    torch.use_deterministic_algorithms(mode=False)
    torch.compiler.reset()


def hardware(**changes: bool) -> Hardware:
    return Hardware(**({"tf32": False, "channels_last": False, "fused": False, "compile": False} | changes))


def trainer(precision: str = "32-true", clip: float = 0.05, device: str = "cuda") -> Trainer:
    strategy = Mock(root_device=torch.device(device))
    return Mock(spec=Trainer, precision=precision, gradient_clip_val=clip, strategy=strategy)


@pytest.mark.parametrize(("tf32", "products"), [(True, "high"), (False, "highest")])
def test_tf32_is_for_products_and_convolutions(tf32: bool, products: str) -> None:
    hardware(tf32=tf32).setup(trainer(), module(cut_grid=GRID), "fit")
    assert torch.get_float32_matmul_precision() == products
    assert torch.backends.cudnn.allow_tf32 is tf32


@pytest.mark.parametrize(
    ("optimizer", "precision", "clip", "fused"),
    [
        (torch.optim.Adam, "32-true", 0.05, True),
        (torch.optim.Adam, "bf16-mixed", 0.05, True),
        (torch.optim.Adam, "16-mixed", 0.05, False),
        (torch.optim.Adam, "16-mixed", 0.0, True),
        (torch.optim.RAdam, "32-true", 0.05, False),
    ],
)
def test_optimizers_are_fused_where_they_can_be(optimizer: type, precision: str, clip: float, fused: bool) -> None:
    detector = module(cut_grid=GRID)
    detector.make_optimizer = partial(optimizer, lr=0.1)
    hardware(fused=True).setup(trainer(precision, clip), detector, "fit")
    made = detector.make_optimizer([torch.nn.Parameter(torch.zeros(1))])
    assert bool(made.defaults.get("fused")) is fused
    assert made.defaults["lr"] == 0.1


def test_on_a_cpu_nothing_is_changed() -> None:
    detector = module(cut_grid=GRID)
    make, products = detector.make_optimizer, torch.get_float32_matmul_precision()
    every = hardware(tf32=True, channels_last=True, fused=True, compile=True)
    every.setup(trainer(device="cpu"), detector, "fit")
    every.on_fit_start(trainer(device="cpu"), detector)
    assert detector.make_optimizer is make
    assert torch.get_float32_matmul_precision() == products
    assert detector.model.encoder.backbone.conv_stem.weight.is_contiguous()
    assert not detector.compiled


def test_channels_last_gives_the_same_loss() -> None:
    torch.manual_seed(0)
    detector, given = module(cut_grid=GRID), batch()
    usual = detector.loss(detector.losses(given, detector(given.images)))
    hardware(channels_last=True).setup(trainer(), detector, "fit")
    weights = detector.model.encoder.backbone.conv_stem.weight
    assert weights.is_contiguous(memory_format=torch.channels_last)
    other = detector.loss(detector.losses(given, detector(given.images)))
    assert other.item() == pytest.approx(usual.item(), rel=1e-5)


COMPILED = """
import sys
import torch
from rsna_det.training.hardware import compile_network
from tests.models.build import build_model, grey_images, wake

torch.set_num_threads(1)
images = grey_images(side=64, batch=2)
for name in sys.argv[1:]:
    for training in (True, False):
        torch.compiler.reset()
        torch.manual_seed(0)
        model = build_model(name).train(training)
        wake(model)
        names, usual = list(model.state_dict()), model(images)
        compile_network(model, backend="eager")
        found = model(images)
        torch.testing.assert_close(found.box_logits, usual.box_logits)
        torch.testing.assert_close(found.box_deltas.dense(), usual.box_deltas.dense())
        assert list(model.state_dict()) == names
        torch.autograd.backward(found.box_logits.sum())
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert model(images).box_logits.dtype == torch.float32
"""


def test_each_compiled_part_is_one_graph() -> None:
    """A graph that breaks raises; outputs and weights' names stay. In a process without the tests' check of shapes."""
    names = ["test_efficientnet", "resnet34", "legacy_seresnext50_32x4d"]
    done = subprocess.run(
        [sys.executable, "-W", "error::FutureWarning", "-c", COMPILED, *names],
        env=environment(),
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_compiling_is_asked_for_at_the_start_of_a_fit() -> None:
    detector = module(cut_grid=GRID)
    hardware().on_fit_start(trainer(), detector)
    assert not detector.compiled
    hardware(compile=True).on_fit_start(trainer(), detector)
    assert detector.compiled
    assert detector.model.encoder._compiled_call_impl is not None


def test_a_deterministic_step_raises_nothing_on_a_cpu() -> None:
    torch.use_deterministic_algorithms(mode=True)
    detector = module(cut_grid=GRID)
    torch.autograd.backward(detector.loss(detector.losses(batch(), detector(batch().images))))
    with torch.no_grad():
        detector.eval().validation_step(batch(), 0)


class Operations(TorchDispatchMode):
    """Notes which operations are called."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: object, types: object, args: tuple = (), kwargs: dict | None = None) -> object:
        self.names.add(func.__name__.partition(".")[0])  # type: ignore[attr-defined]
        return func(*args, **(kwargs or {}))  # type: ignore[operator]


@pytest.mark.parametrize("name", ENCODERS)
def test_no_encoder_has_an_operation_that_raises_in_deterministic_training_on_a_gpu(name: str) -> None:
    with Operations() as operations:
        features = encoder_of(name)(torch.zeros(1, 1, SIDE, SIDE, dtype=torch.uint8, device="meta"))
        torch.autograd.backward(torch.stack([feature.sum() for feature in features]).sum())
    assert "convolution_backward" in operations.names
    assert not operations.names & set(RAISE_ON_CUDA)


def test_no_head_or_loss_has_an_operation_that_raises_in_deterministic_training_on_a_gpu() -> None:
    network = network_of("retinanet", encoder_of("tiny"))
    with Operations() as operations:
        loss: Tensor = loss_of(network, positives=True)
        torch.autograd.backward(loss)
    assert {"nll_loss_backward", "upsample_nearest2d_backward", "index_add"} <= operations.names
    assert not operations.names & set(RAISE_ON_CUDA)
