"""The two schedules, stepped by hand."""

from typing import Any

import pytest
import torch

from rsna_det.errors import InvalidValueError
from rsna_det.training.schedules import one_cycle, plateau


def optimizer(rate: float) -> torch.optim.Optimizer:
    return torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=rate)


def test_plateau_lowers_the_rate_after_its_patience() -> None:
    adam = optimizer(1e-5)
    schedule = plateau(adam, batches_per_epoch=7, total_steps=70, patience=4, factor=0.2)
    assert (schedule["monitor"], schedule["interval"], schedule["frequency"]) == ("val/box_regression", "step", 7)
    # The best value, then five epochs that are not better: the fifth exceeds a patience of four.
    for value in [0.5, 0.6, 0.6, 0.6, 0.6]:
        schedule["scheduler"].step(value)
    assert adam.param_groups[0]["lr"] == 1e-5
    schedule["scheduler"].step(0.6)
    assert adam.param_groups[0]["lr"] == pytest.approx(2e-6)


def test_one_cycle_peaks_at_the_optimizers_rate() -> None:
    adam = optimizer(2e-4)
    schedule = one_cycle(adam, batches_per_epoch=10, total_steps=50, warm_up=0.2)
    rates = []
    for _ in range(49):
        rates.append(adam.param_groups[0]["lr"])
        adam.step()
        schedule["scheduler"].step()
    assert max(rates) == pytest.approx(2e-4)
    assert rates.index(max(rates)) == 9  # 20% of 50 steps, counted from 0
    assert rates[0] < 2e-5
    assert adam.param_groups[0]["lr"] < 1e-7


@pytest.mark.parametrize("total_steps", [1, 2, 3, 5, 7])
def test_one_cycle_of_a_handful_of_steps(total_steps: int) -> None:
    adam = optimizer(2e-4)
    schedule = one_cycle(adam, batches_per_epoch=1, total_steps=total_steps, warm_up=0.2)
    for _ in range(total_steps):
        adam.step()
        schedule["scheduler"].step()


@pytest.mark.parametrize(
    ("changed", "said"), [({"patience": -1}, "patience is -1"), ({"factor": 1.0}, "factor is 1.0")]
)
def test_an_impossible_plateau_is_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidValueError, match=said):
        plateau(
            optimizer(1e-5), **({"batches_per_epoch": 7, "total_steps": 70, "patience": 4, "factor": 0.2} | changed)
        )


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_an_impossible_warm_up_is_refused(share: float) -> None:
    with pytest.raises(InvalidValueError, match=f"warm_up is {share}"):
        one_cycle(optimizer(1e-5), batches_per_epoch=7, total_steps=70, warm_up=share)
