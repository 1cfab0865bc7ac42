"""What a network costs, counted and not measured: parameters, operations, and what a training step keeps in memory.

The network is laid out on torch's meta device, which has shapes and no numbers: nothing is computed, no weights are
fetched, and the largest encoder at 1,024 px takes a second on any machine.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from rsna_det.models.retinanet import MultiTaskRetinaNet

_MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of one image.

    Attributes:
        encoder_mparams: parameters of the encoder in millions.
        model_mparams: parameters of the whole network in millions.
        encoder_gflops: 10^9 floating-point operations of the encoder's forward pass (a multiplication and an addition
            are two).
        model_gflops: the same of the whole network.
        activations_mib: what the forward pass keeps for the backward pass in float32, parameters not included. The
            peak of a step is higher: gradients, the optimizer and the kernels' own room come on top.
    """

    encoder_mparams: float
    model_mparams: float
    encoder_gflops: float
    model_gflops: float
    activations_mib: float


def network_cost(make: Callable[[], MultiTaskRetinaNet], *, image_size: int) -> Cost:
    """Count what a network costs for one image.

    Args:
        make: makes the network; it is called where new tensors have no numbers, so it must not read weights.
        image_size: side of the square image, network pixels.

    Raises:
        ValueError: if the image is too small for the encoder.
    """
    with torch.device("meta"):
        network = make()
        images = torch.empty(1, 1, image_size, image_size, dtype=torch.uint8)
    network.train()
    kept = _Kept(network)
    with FlopCounterMode(display=False) as whole, torch.autograd.graph.saved_tensors_hooks(kept.note, _as_it_is):
        network(images)
    return Cost(
        encoder_mparams=millions_of_parameters(network.encoder),
        model_mparams=millions_of_parameters(network),
        encoder_gflops=gflops(lambda: network.encoder(images)),
        model_gflops=float(whole.get_total_flops()) / 1e9,
        activations_mib=kept.mebibytes,
    )


def millions_of_parameters(module: nn.Module) -> float:
    """Parameters of a module, each once."""
    return sum(parameter.numel() for parameter in module.parameters()) / 1e6


@torch.no_grad()
def gflops(call: Callable[[], object]) -> float:
    """10^9 floating-point operations of a call."""
    with FlopCounterMode(display=False) as counter:
        call()
    return float(counter.get_total_flops()) / 1e9


class _Kept:
    """The memory that autograd keeps, each piece once however many operations want it."""

    def __init__(self, network: nn.Module) -> None:
        self._own = {_address(tensor) for tensor in [*network.parameters(), *network.buffers()]}
        # The storages themselves, so that no address is used again.
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
    # Without numbers all data pointers are 0.
    return int(tensor.untyped_storage()._cdata)  # noqa: SLF001


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor
