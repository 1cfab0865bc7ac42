"""A GPU that is not there: its tensors have shapes but no values, and what makes the host wait for it is noted.

Tensors of the host are real. An operation on tensors of both raises, as on a GPU. What the host is told of a device's
numbers is made up.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensor, FakeTensorMode
from torch._subclasses.fake_tensor import unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from rsna_det.boxes import anchors

_ATEN = torch.ops.aten
_ASKS = {
    _ATEN._local_scalar_dense.default: "item",
    _ATEN.nonzero.default: "nonzero",
    _ATEN.masked_select.default: "masked_select",
    _ATEN.bincount.default: "bincount",
    _ATEN._unique2.default: "unique",
    _ATEN.unique_dim.default: "unique",
    _ATEN.equal.default: "equal",
    _ATEN.repeat_interleave.Tensor: "repeat_interleave",
}
_INDEXING = (_ATEN.index.Tensor, _ATEN.index_put.default, _ATEN.index_put_.default, _ATEN._unsafe_index.Tensor)
_COPIES = (_ATEN._to_copy.default, _ATEN.copy_.default)


class FakeGpu(TorchDispatchMode):
    """While it is entered, ``cuda`` is a device.

    Attributes:
        waits: how often the host waited for the device, by the reason.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fake = FakeTensorMode(allow_non_fake_inputs=False)
        self.waits: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        target = kwargs.get("device")
        to_gpu = target is not None and torch.device(target).type == "cuda"
        if not to_gpu and not any(isinstance(tensor, FakeTensor) for tensor in tensors):
            with unset_fake_temporarily():
                return func(*args, **kwargs)
        if func in _COPIES:
            return self._copy(func, args, kwargs)
        if func in _ASKS:
            self.waits[_ASKS[func]] += 1
            return _made_up(args[0], func)
        if func in _INDEXING and any(index.dtype in (torch.bool, torch.uint8) for index in _indices(args)):
            self.waits["boolean indexing"] += 1
        # A number in a tensor of the host may meet a GPU's tensors.
        args, kwargs = tree_map(lambda leaf: self._fake(leaf) if _is_number(leaf) else leaf, (args, kwargs))
        return func(*args, **kwargs)

    def _copy(self, func: Any, args: Any, kwargs: Any) -> Any:
        into, source = (args[0], args[1]) if func is _ATEN.copy_.default else (None, args[0])
        goes_to = into.device if into is not None else torch.device(kwargs.get("device") or source.device)
        waits = not (kwargs.get("non_blocking", False) or (len(args) > 2 and args[2]))
        if source.device.type != goes_to.type:
            self.waits[f"copy to {goes_to.type}"] += waits
        if goes_to.type == "cpu":
            with unset_fake_temporarily():
                values = _values(source, dtype=kwargs.get("dtype") or source.dtype)
                return values if into is None else into.copy_(values)
        args = tree_map(lambda leaf: self._fake(leaf) if isinstance(leaf, Tensor) else leaf, args)
        return func(*args, **kwargs)

    def _fake(self, tensor: Tensor) -> Tensor:
        return tensor if isinstance(tensor, FakeTensor) else self.fake.from_tensor(tensor)

    def hold(self, module: nn.Module) -> None:
        """Move a module's parameters and buffers to the device."""
        for part in module.modules():
            for name, parameter in part.named_parameters(recurse=False):
                held = nn.Parameter(self._empty(parameter), requires_grad=parameter.requires_grad)
                setattr(part, name, held)
            for name, buffer in part.named_buffers(recurse=False):
                setattr(part, name, self._empty(buffer))

    def _empty(self, like: Tensor) -> Tensor:
        with self.fake:
            return torch.empty(like.shape, dtype=like.dtype, device="cuda")


def _is_number(leaf: object) -> bool:
    return isinstance(leaf, Tensor) and not isinstance(leaf, FakeTensor) and leaf.dim() == 0


def _indices(args: Any) -> list[Tensor]:
    return [index for index in args[1] if index is not None]


def _made_up(tensor: Tensor, func: Any) -> Any:
    if func is _ATEN._local_scalar_dense.default:
        with unset_fake_temporarily():
            return _values(tensor, dtype=tensor.dtype).flatten()[0].item()
    raise AssertionError(f"{func} asks the device for what it holds")


def _values(tensor: Tensor, *, dtype: torch.dtype) -> Tensor:
    """True, the numbers below 7 or a half: numbers of anchors and images as well as scores."""
    if dtype == torch.bool:
        return torch.ones(tensor.shape, dtype=dtype)
    if dtype.is_floating_point:
        return torch.full(tensor.shape, 0.5, dtype=dtype)
    return (torch.arange(tensor.numel()) % 7).reshape(tensor.shape).to(dtype)


class Stream:
    """Of the device; waiting for it is noted."""

    def __init__(self, gpu: FakeGpu) -> None:
        self.gpu = gpu

    def synchronize(self) -> None:
        """Let the host wait."""
        self.gpu.waits["synchronize"] += 1


@contextmanager
def fake_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGpu]:
    """A device ``cuda``; nothing of it is left in caches."""
    gpu = FakeGpu()
    stream: Callable[[object], Stream] = lambda _: Stream(gpu)  # noqa: E731
    with monkeypatch.context() as patched:
        patched.setattr(torch.cuda, "current_stream", stream)
        anchors._cached_anchors.cache_clear()
        try:
            with gpu.fake, gpu:
                yield gpu
        finally:
            anchors._cached_anchors.cache_clear()
