"""The cost of a network, counted instead of measured: parameters, operations, memory kept by a training step.

The network is built on torch's meta device, which has shapes but no values: nothing is computed or downloaded, and the
largest encoder at 1,024 px takes a second on any machine.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from rsna_det.models.recomputing import telling
from rsna_det.models.retinanet import MultiTaskRetinaNet

_MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The cost of one image.

    Attributes:
        encoder_mparams: parameters of the encoder in millions.
        model_mparams: the same of the whole network.
        encoder_gflops: 10^9 floating-point operations of the encoder's forward pass; a multiply-add counts as two.
        model_gflops: the same of the whole network.
        activations_mib: what the forward pass keeps for the backward pass in float32, without the parameters. A step's
            peak is higher: gradients, the optimizer and the kernels' workspace come on top.
    """

    encoder_mparams: float
    model_mparams: float
    encoder_gflops: float
    model_gflops: float
    activations_mib: float


def network_cost(make: Callable[[], MultiTaskRetinaNet], *, image_size: int) -> Cost:
    """Count the cost of one image.

    Args:
        make: builds the network on the meta device, so it must not read weights.
        image_size: side of the square image, network pixels.

    Raises:
        InvalidValueError: if the image is too small for the encoder.
    """
    with torch.device("meta"):
        network = make()
        images = torch.empty(1, 1, image_size, image_size, dtype=torch.uint8)
    network.train()
    kept = _Kept(network)
    hooks = torch.autograd.graph.saved_tensors_hooks(kept.note, _as_it_is)
    with FlopCounterMode(display=False) as whole, hooks, telling(kept.note):
        network(images)
    return Cost(
        encoder_mparams=millions_of_parameters(network.encoder),
        model_mparams=millions_of_parameters(network),
        encoder_gflops=gflops(lambda: network.encoder(images)),
        model_gflops=float(whole.get_total_flops()) / 1e9,
        activations_mib=kept.mebibytes,
    )


def feature_sizes(network: nn.Module, *, image_size: int) -> tuple[tuple[int, int], ...]:
    """Height and width of each pyramid level's map, from a copy without values.

    Args:
        network: such as :class:`~rsna_det.models.retinanet.MultiTaskRetinaNet`.
        image_size: side of the square image, network pixels.
    """
    shapes = copy.deepcopy(network).to("meta").eval()
    with torch.no_grad():
        sizes: tuple[tuple[int, int], ...] = shapes(
            torch.empty(1, 1, image_size, image_size, dtype=torch.uint8, device="meta")
        ).feature_sizes
    return sizes


def millions_of_parameters(module: nn.Module) -> float:
    """Parameters of a module, shared ones counted once."""
    return sum(parameter.numel() for parameter in module.parameters()) / 1e6


@torch.no_grad()
def gflops(call: Callable[[], object]) -> float:
    """10^9 floating-point operations of a call."""
    with FlopCounterMode(display=False) as counter:
        call()
    return float(counter.get_total_flops()) / 1e9


class _Kept:
    """The memory that autograd keeps; what several operations keep is counted once."""

    def __init__(self, network: nn.Module) -> None:
        self._own = {_address(tensor) for tensor in [*network.parameters(), *network.buffers()]}
        # Holding the storages keeps their addresses unique.
        self._storages: dict[int, torch.UntypedStorage] = {}

    def note(self, tensor: Tensor) -> Tensor:
        address = _address(tensor)
        if address not in self._own:
            self._storages[address] = tensor.untyped_storage()
        return tensor

    @property
    def mebibytes(self) -> float:
        return sum(storage.nbytes() for storage in self._storages.values()) / _MIB


def _address(tensor: Tensor) -> int:
    # On the meta device all data pointers are 0.
    return int(tensor.untyped_storage()._cdata)  # noqa: SLF001


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor
