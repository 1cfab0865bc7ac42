"""Checkpoints of untrained tiny detectors, as a run would write them."""

from functools import cache
from pathlib import Path
from typing import Any

import torch

from rsna_det.config.check import check_config
from rsna_det.config.compose import compose_config
from rsna_det.config.console import set_up
from rsna_det.config.options import TrainOptions
from rsna_det.runs.session import build_module
from rsna_det.training.module import DetectorModule


@cache
def module_of(*overrides: str) -> DetectorModule:
    """A tiny detector, composed and built as training does."""
    set_up()
    torch.manual_seed(0)
    options = ["data.root=somewhere", "data.image_size=64", "encoder=tiny", "model.width=16", "trainer=cpu"]
    return build_module(check_config(compose_config("train", [*options, "run_dir=run", *overrides]), TrainOptions))


def write_checkpoint(path: Path, *overrides: str, epoch: int = 3, **changes: Any) -> Path:
    """A checkpoint; ``changes`` replace parts of its description."""
    module = module_of(*overrides)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"epoch": epoch, "state_dict": module.state_dict(), "rsna_det": module.description | changes}
    torch.save(content, path)
    return path
