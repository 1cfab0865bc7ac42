"""Options of Lightning's Trainer that this package cannot do right, refused before data are read.

An option that would train, but leave checkpoint, tables and metrics of different models or of other images, is worse
than an error.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rsna_det.config.options import Component, TrainOptions
from rsna_det.config.targets import todays_target
from rsna_det.errors import ConfigError

PLATEAU = "rsna_det.training.schedules.plateau"
CHECKPOINT_IO = "rsna_det.training.checkpoint_io.AtomicCheckpointIO"


@dataclass(frozen=True, kw_only=True)
class _Limit:
    """What an option may be.

    Attributes:
        allows: whether a value is allowed.
        expected: the same in words, with the reason or what to set instead.
    """

    allows: Callable[[object], bool]
    expected: str


def _is(*allowed: object) -> Callable[[object], bool]:
    """One of some values, where ``True`` is not 1."""
    return lambda value: any(value == other and isinstance(value, bool) is isinstance(other, bool) for other in allowed)


def _at_least(low: float, *, count: bool = True, also: tuple[object, ...] = ()) -> Callable[[object], bool]:
    kinds = int if count else int | float
    return lambda value: (
        _is(*also)(value) or (isinstance(value, kinds) and not isinstance(value, bool) and value >= low)
    )


def _share_or_count(value: object) -> bool:
    """A share up to 1, or a number of batches."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value is None
    return 0 < value <= 1 if isinstance(value, float) else value >= 1


def _validation_share(value: object) -> bool:
    return value == 0 or _share_or_count(value)


def _ddp(value: object) -> bool:
    started_by_us = isinstance(value, str) and value.startswith("ddp")
    return value == "auto" or (started_by_us and not any(kind in str(value) for kind in ("spawn", "fork", "notebook")))


_YES, _NO = (True,), (False,)
_OURS = "it is set by the run"

_LIMITS: dict[str, _Limit] = {
    "max_epochs": _Limit(
        allows=_at_least(1),
        expected="1 or more: the schedule, the plan and the end of a run follow from it. To stop earlier add "
        "`+trainer.max_steps=<steps>` or `+trainer.max_time=00:12:00:00`",
    ),
    "max_steps": _Limit(allows=_at_least(1, also=(-1,)), expected="1 or more steps, or -1 for no limit"),
    "min_epochs": _Limit(allows=_at_least(0, also=(None,)), expected="0 or more, or null"),
    "min_steps": _Limit(allows=_at_least(0, also=(None,)), expected="0 or more, or null"),
    "accumulate_grad_batches": _Limit(allows=_at_least(1), expected="1 or more"),
    "log_every_n_steps": _Limit(allows=_at_least(1), expected="1 or more"),
    "check_val_every_n_epoch": _Limit(allows=_at_least(1), expected="a number of epochs, 1 or more"),
    "limit_train_batches": _Limit(
        allows=_share_or_count, expected="a share above 0 and up to 1.0, or a number of batches"
    ),
    "limit_val_batches": _Limit(
        allows=_validation_share, expected="a share up to 1.0, a number of batches, or 0 for no validation"
    ),
    "val_check_interval": _Limit(
        # The integer 1 is another thing: after every batch.
        allows=lambda value: value is None or (isinstance(value, float) and value == 1),
        expected="1.0. Validation belongs to the end of an epoch: within one, the checkpoint, the tables and the "
        "metrics would be of different models",
    ),
    "overfit_batches": _Limit(
        allows=_is(0), expected="0, since validation would show the training images: use `debug=overfit`"
    ),
    "num_sanity_val_steps": _Limit(
        allows=_is(0), expected="0: a few images before training would stand in the first epoch's tables"
    ),
    "precision": _Limit(
        allows=_is(None, 32, 16, "32", "16", "bf16", "32-true", "16-mixed", "bf16-mixed"),
        expected="32-true, 16-mixed or bf16-mixed: losses, boxes and scores are computed in float32, whatever the "
        "network's precision",
    ),
    "strategy": _Limit(
        allows=_ddp,
        expected="auto or ddp: others split the weights or start processes that cannot write this run's checkpoints",
    ),
    "use_distributed_sampler": _Limit(
        allows=_is(*_NO), expected="false: Lightning's sampler would show some validation images twice"
    ),
    "reload_dataloaders_every_n_epochs": _Limit(
        allows=_is(0), expected="0: the loaders shuffle anew in every epoch without it"
    ),
    "enable_checkpointing": _Limit(allows=_is(None, *_YES), expected="true: a run without checkpoints cannot resume"),
    "barebones": _Limit(allows=_is(*_NO), expected="false: it drops checkpoints, tables and metrics"),
    "gradient_clip_val": _Limit(
        allows=_at_least(0, count=False, also=(None,)), expected="0 (no clipping) or more: set optimizer.gradient_clip"
    ),
    "max_time": _Limit(
        allows=lambda value: not isinstance(value, str) or value.strip("0:") != "",
        expected="days:hours:minutes:seconds, more than none",
    ),
    "plugins": _Limit(
        allows=lambda value: isinstance(value, list) and any(_target(plugin) == CHECKPOINT_IO for plugin in value),
        expected=f"a list with {CHECKPOINT_IO}, which writes checkpoints whole and with their digest",
    ),
    "logger": _Limit(allows=_is(), expected=f"nothing: {_OURS}; choose with `logger=wandb` or `logger=csv`"),
    "callbacks": _Limit(allows=_is(), expected=f"nothing: {_OURS}; add one with `+callbacks.<name>._target_=<class>`"),
    "default_root_dir": _Limit(allows=_is(), expected=f"nothing: {_OURS}; choose with `paths.runs=<folder>`"),
}


def check_trainer(options: TrainOptions) -> None:
    """Check what Lightning would take and this package cannot do right.

    Args:
        options: of a run.

    Raises:
        ConfigError: naming every such option at once.
    """
    problems = [
        *_limit_problems(options.trainer),
        *_end_problems(options.trainer),
        *_schedule_problems(options),
        *_clip_problems(options),
    ]
    if problems:
        raise ConfigError("\n".join(problems))


def _limit_problems(trainer: Component) -> Iterator[str]:
    for name, limit in _LIMITS.items():
        if name in trainer and not limit.allows(trainer[name]):
            yield f"trainer.{name} is {trainer[name]!r}; expected {limit.expected}"


def _end_problems(trainer: Component) -> Iterator[str]:
    for low, high in (("min_epochs", "max_epochs"), ("min_steps", "max_steps")):
        least, most = trainer.get(low), trainer.get(high)
        if isinstance(least, int) and isinstance(most, int) and least > most >= 0:
            yield f"trainer.{low} is {least}, but trainer.{high} is {most}: lower the one or raise the other"


def _target(node: object) -> object:
    return todays_target(str(node.get("_target_"))) if isinstance(node, dict) else None


def _schedule_problems(options: TrainOptions) -> Iterator[str]:
    """The plateau waits for a loss of every epoch's validation."""
    if _target(options.optimizer.scheduler) != PLATEAU:
        return
    trainer = options.trainer
    remedy = "set it to its default, or choose `optimizer=short`"
    reason = "the learning rate follows the validation loss of every epoch (optimizer.scheduler is the plateau)"
    if trainer.get("check_val_every_n_epoch", 1) != 1:
        yield f"trainer.check_val_every_n_epoch is {trainer['check_val_every_n_epoch']!r}, but {reason}: {remedy}"
    if trainer.get("limit_val_batches", 1.0) in (0, None):
        yield f"trainer.limit_val_batches is {trainer['limit_val_batches']!r}, but {reason}: {remedy}"


def _clip_problems(options: TrainOptions) -> Iterator[str]:
    clip = options.optimizer.gradient_clip
    if clip is not None and clip < 0:
        yield f"optimizer.gradient_clip is {clip}; expected 0 (no clipping) or more"
