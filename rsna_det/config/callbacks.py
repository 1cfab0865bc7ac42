"""Callbacks that a run needs to keep its promises, and those of Lightning under which it cannot."""

from collections.abc import Collection, Iterator

from rsna_det.config.compose import closest
from rsna_det.config.options import Component
from rsna_det.config.targets import todays_target
from rsna_det.errors import ConfigError

_LIGHTNING = ("pytorch_lightning.callbacks.", "lightning.pytorch.callbacks.")
_ALLOWED = (
    *("ModelCheckpoint", "EMAWeightAveraging", "EarlyStopping", "Timer", "LearningRateMonitor", "DeviceStatsMonitor"),
    *("TQDMProgressBar", "RichProgressBar", "ModelSummary", "RichModelSummary"),
)
_NEEDED = {
    "last": "without last.ckpt the run cannot resume",
    "epoch_seed": "without it a resumed run would draw other numbers than an uninterrupted one",
    "finite_loss": "without it a diverged run would write checkpoints and scores of NaN",
    "complete_row": "without it a killed run would resume without an epoch's metrics",
}


def check_callbacks(callbacks: dict[str, Component | None], *, logged: Collection[str]) -> None:
    """Check a run's callbacks.

    Args:
        callbacks: by name, as composed.
        logged: names of the values that a run logs.

    Raises:
        ConfigError: naming every callback that is missing, cannot work here or waits for a value that is not logged.
    """
    problems = [*_missing(callbacks), *_of_lightning(callbacks), *_monitors(callbacks, logged)]
    if problems:
        raise ConfigError("\n".join(problems))


def _missing(callbacks: dict[str, Component | None]) -> Iterator[str]:
    for name, reason in _NEEDED.items():
        if callbacks.get(name) is None:
            yield f"callbacks.{name} is left out: {reason}"


def _of_lightning(callbacks: dict[str, Component | None]) -> Iterator[str]:
    for name, node in callbacks.items():
        target = todays_target(str((node or {}).get("_target_", "")))
        if target.startswith(_LIGHTNING) and target.rpartition(".")[2] not in _ALLOWED:
            yield (
                f"callbacks.{name} is {target}, under which plan, checkpoints and metrics would not be those of the "
                f"options; of Lightning's callbacks this package works with {', '.join(_ALLOWED)}"
            )


def _monitors(callbacks: dict[str, Component | None], logged: Collection[str]) -> Iterator[str]:
    for name, node in callbacks.items():
        monitor = (node or {}).get("monitor")
        if monitor is not None and monitor not in logged:
            yield f"callbacks.{name}.monitor is {monitor!r}, which a run does not log{closest(str(monitor), [*logged])}"
