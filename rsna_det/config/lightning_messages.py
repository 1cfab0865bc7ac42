"""Which of Lightning's messages are shown: its report of a profiler and why it ended, not its advertisements."""

import logging

# Where they come from, in Lightning's own files.
_SHOWN = ("profilers", "early_stopping", "timer")
# One logger for all of Lightning's messages of one process, and others of modules that log on their own.
_CHATTY = "pytorch_lightning.utilities.rank_zero"
_TALKING = ("pytorch_lightning.callbacks.early_stopping", "pytorch_lightning.profilers.profiler")
_OBSERVER = "lightning_fabric.strategies.launchers.subprocess_script"

DEAD_PROCESS = (
    "one of the run's processes has died ({what}); all are ended. If its own message is not above, it was killed: most "
    "often memory ran out, so lower data.batch_size or data.num_workers. Then resume with `resume=<run folder>`"
)


def quieten_lightning() -> None:
    """Silence what only distracts; may be called before Lightning is imported, and again."""
    # Lightning sets its logger's own level when it is imported, which may be later: those that talk are named too.
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    for name in (_CHATTY, *_TALKING, _OBSERVER):
        logging.getLogger(name).setLevel(logging.INFO)
    _add_once(_CHATTY, _only_shown)
    _add_once(_OBSERVER, _in_our_words)


def _add_once(name: str, rule: object) -> None:
    filters = logging.getLogger(name).filters
    if rule not in filters:
        filters.append(rule)  # type: ignore[arg-type]


def _only_shown(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING or any(part in record.pathname for part in _SHOWN)


def _in_our_words(record: logging.LogRecord) -> bool:
    """Lightning's observer of processes ends them all without any exception: its message is the last one."""
    if "Child process with PID" in record.getMessage():
        what = record.getMessage().split(". ")[0].split("] ")[-1]
        record.levelno, record.levelname = logging.ERROR, "ERROR"
        record.msg, record.args = f"error: {DEAD_PROCESS.format(what=what)}", ()
    return True
