"""Where the host waits for the device: one place, so that it can be counted."""

import torch
from torch import Tensor


def to_host(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Tensors of one device on the CPU, for which the host waits once."""
    device = tensors[0].device
    if device.type != "cuda":
        return tuple(tensor.cpu() for tensor in tensors)
    copies = tuple(tensor.to("cpu", non_blocking=True) for tensor in tensors)
    torch.cuda.current_stream(device).synchronize()
    return copies
