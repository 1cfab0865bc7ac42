"""The training step with boxes at positives alone: mixed precision, compiled parts, and a process without positives."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing import spawn  # type: ignore[attr-defined]
from torch.nn.parallel import DistributedDataParallel

from rsna_det.models.retinanet import MultiTaskRetinaNet
from tests.models.build import build_model, grey_images, wake
from tests.models.test_windows import total_loss

SIDE = 96


def network() -> MultiTaskRetinaNet:
    torch.manual_seed(0)
    model = build_model(levels=(3, 4, 5, 6, 7)).double()
    wake(model)
    return model


def four_images() -> tuple[Tensor, Tensor, Tensor]:
    """Images, boxes and their mask; the last two images have none."""
    boxes, mask = torch.zeros(4, 1, 4), torch.zeros(4, 1, dtype=torch.bool)
    boxes[:2, 0], mask[:2] = torch.tensor([[8.0, 10, 50, 60], [40, 30, 95, 95]]), True
    return grey_images(side=SIDE, batch=4), boxes, mask


class WithLoss(torch.nn.Module):
    """Images and labels -> loss: distributed training wraps what it calls forward of."""

    def __init__(self, model: MultiTaskRetinaNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, boxes: Tensor, mask: Tensor) -> Tensor:
        return total_loss(self.model, images, boxes, mask, dense=False)


def _process(rank: int, store: str, out: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    parallel = DistributedDataParallel(WithLoss(network()))
    own = slice(2 * rank, 2 * rank + 2)
    for _ in range(2):
        # Twice: a parameter without a gradient would be waited for at the second step.
        parallel.zero_grad()
        torch.autograd.backward(parallel(*(part[own] for part in four_images())))
    if rank == 0:
        torch.save({name: parameter.grad for name, parameter in parallel.module.model.named_parameters()}, out)
    dist.destroy_process_group()


def test_two_processes_one_without_positives_equal_one(tmp_path: Path) -> None:
    arguments = (str(tmp_path / "store"), str(tmp_path / "gradients.pt"))
    spawn(_process, arguments, nprocs=2)  # type: ignore[no-untyped-call]
    found = torch.load(tmp_path / "gradients.pt", weights_only=True)
    model = network()
    torch.autograd.backward(total_loss(model, *four_images(), dense=True))
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        tolerance = 1e-9 * float(parameter.grad.abs().max().clamp(min=1e-12))
        torch.testing.assert_close(found[name], parameter.grad, rtol=0, atol=tolerance, msg=name)


def _compiled(_: int, cases: tuple[tuple[str, bool], ...]) -> None:
    torch.set_num_threads(1)
    for backend, positives in cases:
        torch._dynamo.reset()
        plain, compiled = network(), network()
        for part in (compiled.encoder, compiled.pyramid, compiled.box_class_head):
            part.compile(backend=backend, fullgraph=True)
        batch = [part[:2] if positives else part[2:] for part in four_images()]
        losses = [total_loss(model, *batch, dense=False) for model in (plain, compiled)]
        assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-12)
        for loss in losses:
            torch.autograd.backward(loss)
        for (name, wanted), found in zip(plain.named_parameters(), compiled.parameters(), strict=True):
            assert wanted.grad is not None, name
            assert found.grad is not None, name
            assert (found.grad - wanted.grad).abs().max() <= 1e-9 * wanted.grad.abs().max().clamp(min=1e-12), name


def test_compiled_dense_parts_give_the_same_gradients() -> None:
    """Without a graph break; in a process of its own, for the checks of shapes in tests are no code to compile."""
    spawn(_compiled, ((("eager", False), ("aot_eager", True)),))  # type: ignore[no-untyped-call]


def test_mixed_precision_gives_the_dense_gradients_up_to_rounding() -> None:
    """bfloat16 has 8 bits: of each parameter's gradient the direction is the dense one's."""
    gradients = []
    for dense in (True, False):
        torch.manual_seed(0)
        model = build_model(levels=(3, 4, 5, 6, 7))
        wake(model)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = total_loss(model, *four_images(), dense=dense)
        torch.autograd.backward(loss)
        gradients.append([parameter.grad for parameter in model.box_regression_head.parameters()])
    for found, wanted in zip(*gradients, strict=True):
        assert found is not None
        assert wanted is not None
        assert wanted.abs().max() > 0
        assert torch.cosine_similarity(found.flatten(), wanted.flatten(), dim=0) > 0.999
