"""Which study a command line names, and where its runs stand."""

from collections import Counter
from collections.abc import Sequence

from rsna_det.config.compose import override_key
from rsna_det.config.console import print_table
from rsna_det.errors import ConfigError
from rsna_det.studies.plan import PLACES, Study, launched_study, plan_study, study_names
from rsna_det.studies.worker import State


def find_study(name: str, overrides: Sequence[str]) -> Study:
    """A study as last started, or, where options are given, as those would start it."""
    if len(places_of(overrides)) == len(overrides):
        return launched_study(name, overrides)
    return plan_study([f"sweep={name}", *overrides])


def places_of(overrides: Sequence[str]) -> list[str]:
    """Those of the overrides that say where studies lie."""
    return [override for override in overrides if override_key(override) in PLACES]


def study_and_overrides(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """The study that a command line names, and its other words.

    Raises:
        ConfigError: if it names none, several or an unknown one.
    """
    names = [argument for argument in arguments if "=" not in argument]
    if len(names) != 1 or names[0] not in study_names():
        raise ConfigError(f"name one study: {', '.join(study_names())}")
    return names[0], [argument for argument in arguments if "=" in argument]


def show(study: Study, *, only: Sequence[State] = ()) -> Counter[State]:
    """Print the runs of a study and where they stand.

    Args:
        study: whose runs.
        only: the states to list; all if none is named.

    Returns:
        How many runs are in each state.
    """
    from rsna_det.drawing.tables import counted

    states = [(run, run.state) for run in study.runs]
    counts = Counter(state.state for _, state in states)
    rows = [
        (run.id, state.state, study.label(run), state.detail)
        for run, state in states
        if not only or state.state in only
    ]
    summary = ", ".join(f"{count} {state}" for state, count in counts.items())
    print_table(f"{study.name}: {counted(len(study.runs), 'run')} ({summary}) in {study.folder}", rows)
    return counts
