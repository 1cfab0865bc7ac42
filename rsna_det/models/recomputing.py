"""A part of what an encoder keeps for the backward pass, computed again instead: the same gradients for less memory.

A batch norm with frozen statistics keeps its input, and what follows it keeps its output and that of the activation
in between. One pass over memory gives these again from the input, to the bit. Convolutions cost a hundred times as much
and are not repeated.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar

import torch
from torch import Tensor, nn

_ACTIVATIONS = (nn.ReLU, nn.SiLU, nn.GELU)
_TOLD: ContextVar[Callable[[Tensor], object] | None] = ContextVar("told", default=None)


@contextmanager
def telling(note: Callable[[Tensor], object]) -> Iterator[None]:
    """Within the block, ``note`` is given every tensor that :func:`recomputed_norms` keeps.

    Autograd calls only the innermost of nested hooks, so one around a network would not see them.
    """
    token = _TOLD.set(note)
    try:
        yield
    finally:
        _TOLD.reset(token)


@contextmanager
def recomputed_norms(network: nn.Module) -> Iterator[None]:
    """Within the block, a forward pass keeps the inputs of frozen batch norms and not what comes of them.

    Nothing changes without gradients, for batch norms that learn their statistics, or while ``torch.compile`` traces,
    which plans memory by itself.

    Args:
        network: that runs within the block.
    """
    if torch.compiler.is_compiling() or not torch.is_grad_enabled():
        yield
        return
    origins = _Origins()
    handles = []
    for module in _cheap_modules(network):
        handles.append(module.register_forward_pre_hook(origins.before))
        handles.append(module.register_forward_hook(origins.after))
    try:
        with torch.autograd.graph.saved_tensors_hooks(origins.pack, _Kept.tensor):
            yield
    finally:
        for handle in handles:
            handle.remove()
        # Autograd keeps the hook with every tensor.
        origins.forget()


def _cheap_modules(network: nn.Module) -> Iterator[nn.Module]:
    """Frozen batch norms and activations; one within another is run by that."""
    for child in network.children():
        if isinstance(child, nn.BatchNorm2d):
            if not child.training and child.track_running_stats:
                yield child
        elif type(child) in _ACTIVATIONS:
            yield child
        else:
            yield from _cheap_modules(child)


class _Origin:
    """How a tensor came from the input of a batch norm.

    Args:
        given: the input.
        modules: what was applied to it, in turn.
    """

    def __init__(self, given: Tensor, modules: tuple[nn.Module, ...]) -> None:
        self.given, self.modules = given, modules
        self.uses = 0
        self._version = given._version  # noqa: SLF001  # what autograd compares
        self._result: Tensor | None = None
        self._autocast = _precision_of(given.device.type)

    def result(self) -> Tensor:
        """The tensor, held until the backward pass has asked for it as often as it was not kept."""
        if self.given._version != self._version:  # noqa: SLF001
            raise RuntimeError("the input of a batch norm was changed in place before its backward pass")
        result = self._computed() if self._result is None else self._result
        self.uses -= 1
        self._result = result if self.uses > 0 else None
        return result

    @torch.no_grad()
    def _computed(self) -> Tensor:
        device, dtype = self.given.device.type, self._autocast
        with nullcontext() if dtype is None else torch.autocast(device, dtype=dtype):
            result = self.given
            for module in self.modules:
                result = module.forward(result)
        return result


def _precision_of(device: str) -> torch.dtype | None:
    if device == "meta" or not torch.is_autocast_enabled(device):
        return None
    return torch.get_autocast_dtype(device)


class _Kept:
    """What autograd holds in place of a tensor: the tensor, or where it came from."""

    def __init__(self, tensor: Tensor) -> None:
        self.value: Tensor | _Origin = tensor

    def tensor(self) -> Tensor:
        return self.value.result() if isinstance(self.value, _Origin) else self.value

    def replace(self, origin: _Origin) -> None:
        origin.uses += 1
        self.value = origin


class _Origins:
    """The origins of the tensors of one forward pass."""

    def __init__(self) -> None:
        # With the tensors, as long as the pass takes: an address may be given away.
        self._known: dict[int, tuple[Tensor, int, _Origin]] = {}
        self._kept: list[_Kept] = []
        self._within: list[_Kept] = []
        self._source: _Origin | None = None
        self._note = _TOLD.get()

    def before(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Note what a module is given: one that works in place will have changed it."""
        self._within = []
        (given,) = inputs
        known = self._origin(given)
        self._source = None
        if known is not None:
            self._source = _Origin(known.given, (*known.modules, module))
        elif isinstance(module, nn.BatchNorm2d):
            self._source = _Origin(given.detach(), (module,))

    def after(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:  # noqa: ARG002
        """Note where its output came from, and forget copies of it that the module has kept."""
        if self._source is None:
            return
        address = _address(output)
        self._known[address] = (output.detach(), output._version, self._source)  # noqa: SLF001
        for kept in self._within:
            value = kept.value
            if isinstance(value, Tensor) and _address(value) == address and _same_layout(value, output):
                kept.replace(self._source)
        self._within, self._source = [], None

    def forget(self) -> None:
        """Let go of the tensors, at the end of the pass."""
        if self._note is not None:
            for kept in self._kept:
                self._note(kept.value.given if isinstance(kept.value, _Origin) else kept.value)
        self._known, self._kept, self._within, self._source = {}, [], [], None

    def pack(self, tensor: Tensor) -> _Kept:
        """For autograd."""
        # The result of an operation in place would hold that operation, and so itself.
        kept = _Kept(tensor.detach())
        known = self._origin(tensor)
        if known is not None:
            kept.replace(known)
        if self._source is not None:
            self._within.append(kept)
        if self._note is not None:
            self._kept.append(kept)
        return kept

    def _origin(self, tensor: Tensor) -> _Origin | None:
        found = self._known.get(_address(tensor))
        if found is None or not _same_layout(tensor, found[0]) or tensor._version != found[1]:  # noqa: SLF001
            return None
        return found[2]


def _address(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)  # noqa: SLF001


def _same_layout(one: Tensor, other: Tensor) -> bool:
    same_view = one.stride() == other.stride() and bool(one.storage_offset() == other.storage_offset())
    return one.shape == other.shape and one.dtype == other.dtype and same_view
