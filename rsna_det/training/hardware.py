"""How a GPU computes: settings that change the time of a run and at most the last digits of its result."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import nn

from rsna_det.training.module import DetectorModule

_NEEDS_UNSCALED = "16-mixed"


class Hardware(Callback):
    """Prepares network and optimizer for the device; conf/trainer/gpu.yaml says what each setting is good for.

    Args:
        tf32: whether matrix products and convolutions may round the factors of float32 to 10 bits.
        channels_last: whether a cell's channels lie side by side in memory.
        fused: whether the optimizer updates all parameters in one kernel, where it can.
        compile: whether encoder, pyramid and class head are compiled.
    """

    def __init__(self, *, tf32: bool, channels_last: bool, fused: bool, compile: bool) -> None:  # noqa: A002
        self.tf32 = tf32
        self.channels_last = channels_last
        self.fused = fused
        self.compile = compile

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:  # noqa: ARG002
        """Set the precision of products, and how memory is laid out; on a CPU nothing, whose results stay the same."""
        if not _on_gpu(trainer):
            return
        torch.set_float32_matmul_precision("high" if self.tf32 else "highest")
        torch.backends.cudnn.allow_tf32 = self.tf32
        if self.channels_last:
            pl_module.to(memory_format=torch.channels_last)
        if self.fused and self._can_fuse(trainer, pl_module):
            make: Callable[..., Any] = pl_module.make_optimizer  # type: ignore[assignment]
            pl_module.make_optimizer = partial(make, fused=True)  # type: ignore[assignment]

    def on_fit_start(self, trainer: Trainer, pl_module: DetectorModule) -> None:  # type: ignore[override]
        """Have the parts whose shapes are always the same compiled at their first call; the windows' change."""
        if self.compile and _on_gpu(trainer):
            compile_network(pl_module.model)
            pl_module.compiled = True

    def _can_fuse(self, trainer: Trainer, module: LightningModule) -> bool:
        """Not with scaled losses and clipping: a fused optimizer unscales gradients itself, after they are clipped."""
        clips = bool(trainer.gradient_clip_val)
        if str(trainer.precision) == _NEEDS_UNSCALED and clips:
            return False
        make = getattr(module.make_optimizer, "func", module.make_optimizer)
        return "fused" in inspect.signature(make).parameters  # type: ignore[arg-type]


def _on_gpu(trainer: Trainer) -> bool:
    return bool(trainer.strategy.root_device.type == "cuda")


def compile_network(network: nn.Module, *, backend: str = "inductor") -> None:
    """Compile encoder, pyramid and class head, each as one graph.

    The names of the weights stay, and so checkpoints do.

    Args:
        network: such as :class:`~rsna_det.models.retinanet.MultiTaskRetinaNet`.
        backend: of ``torch.compile``.
    """
    for name in ("encoder", "pyramid", "box_class_head"):
        network.get_submodule(name).compile(fullgraph=True, backend=backend)
