"""Learning-rate schedules, as Lightning takes them."""

from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau

from rsna_det.errors import InvalidValueError

VALIDATION_REGRESSION_LOSS = "val/box_regression"


def plateau(
    optimizer: Optimizer, *, batches_per_epoch: int, total_steps: int, patience: int, factor: float
) -> dict[str, Any]:
    """Lower the rate when the validation box-regression loss stops improving (paper, section 4.2; published code).

    The schedule steps once per epoch, counted in batches: Lightning would step it by epochs only after the epoch's
    checkpoint is written, and a resumed run would miss that step.

    Args:
        optimizer: whose rate is lowered.
        batches_per_epoch: of training, on one device.
        total_steps: unused; all schedules take the same arguments.
        patience: epochs without improvement before the rate is lowered.
        factor: what the rate is multiplied by.

    Raises:
        InvalidValueError: for a number out of range.
    """
    del total_steps
    if patience < 0:
        raise InvalidValueError(f"optimizer.scheduler.patience is {patience}; expected 0 epochs or more")
    if not 0 < factor < 1:
        raise InvalidValueError(f"optimizer.scheduler.factor is {factor}; expected a number between 0 and 1")
    return {
        "scheduler": ReduceLROnPlateau(optimizer, patience=patience, factor=factor),
        "monitor": VALIDATION_REGRESSION_LOSS,
        "interval": "step",
        "frequency": batches_per_epoch,
    }


def one_cycle(optimizer: Optimizer, *, batches_per_epoch: int, total_steps: int, warm_up: float) -> dict[str, Any]:
    """Rise to the optimizer's rate and fall to nearly 0 over the run: for small data and demonstrations.

    Args:
        optimizer: its rate is the highest of the cycle.
        batches_per_epoch: unused; all schedules take the same arguments.
        total_steps: optimizer steps of the whole run.
        warm_up: share of the run in which the rate rises.

    Raises:
        InvalidValueError: for a share out of range.
    """
    del batches_per_epoch
    if not 0 <= warm_up < 1:
        raise InvalidValueError(f"optimizer.scheduler.warm_up is {warm_up}; expected 0 or more, below 1")
    peak = [group["lr"] for group in optimizer.param_groups]
    # torch divides by zero unless rise and fall each take more than one step.
    steps = max(total_steps, 4)
    scheduler = OneCycleLR(optimizer, max_lr=peak, total_steps=steps, pct_start=max(warm_up, 2 / steps))
    return {"scheduler": scheduler, "interval": "step"}
