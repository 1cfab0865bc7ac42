"""Learning-rate schedules, as what Lightning wants to know of one."""

from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau

VALIDATION_REGRESSION_LOSS = "val/box_regression"


def plateau(
    optimizer: Optimizer, *, batches_per_epoch: int, total_steps: int, patience: int, factor: float
) -> dict[str, Any]:
    """Lower the rate when the validation box-regression loss stands still (paper, section 4.2; published code).

    The step counts once an epoch, but in batches: Lightning steps an epoch-wise plateau only after the epoch's
    checkpoint is written, and a resumed run would have missed it.

    Args:
        optimizer: whose rate is lowered.
        batches_per_epoch: of training, on one device.
        total_steps: not needed here; every schedule is called alike.
        patience: epochs without improvement that are borne.
        factor: what the rate is multiplied by.

    Raises:
        ValueError: for a number out of range.
    """
    del total_steps
    if patience < 0:
        raise ValueError(f"the schedule's patience is 0 epochs or more, got {patience}")
    return {
        "scheduler": ReduceLROnPlateau(optimizer, patience=patience, factor=factor),
        "monitor": VALIDATION_REGRESSION_LOSS,
        "interval": "step",
        "frequency": batches_per_epoch,
    }


def one_cycle(optimizer: Optimizer, *, batches_per_epoch: int, total_steps: int, warm_up: float) -> dict[str, Any]:
    """Rise to the optimizer's rate and fall to nearly 0 over the whole run: for small data and demonstrations.

    Args:
        optimizer: its rate is the highest of the cycle.
        batches_per_epoch: not needed here; every schedule is called alike.
        total_steps: optimizer steps of the whole run.
        warm_up: share of the run in which the rate rises.
    """
    del batches_per_epoch
    peak = [group["lr"] for group in optimizer.param_groups]
    # The rise must take more than one step, and the fall as well, or torch divides by zero.
    steps = max(total_steps, 4)
    scheduler = OneCycleLR(optimizer, max_lr=peak, total_steps=steps, pct_start=max(warm_up, 2 / steps))
    return {"scheduler": scheduler, "interval": "step"}
