"""A W&B workspace that compares a study's variants: ``python -m rsna_det.dashboard augmentations``."""

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rsna_det.config.check import check_values
from rsna_det.config.compose import compose_config, override_key
from rsna_det.config.console import command_line, errors_as_messages, log_errors_to, print_table, set_up
from rsna_det.config.help import Help
from rsna_det.config.options import TrainOptions, as_plain
from rsna_det.config.roles import Role, flat_options, role_of
from rsna_det.config.saved import plain_values
from rsna_det.errors import ConfigError
from rsna_det.files.atomic import write_text
from rsna_det.runs.tracking import EPOCH, SUMMARIES, default_entity, logged_in, server_problem
from rsna_det.studies.listing import find_study, places_of, study_and_overrides
from rsna_det.studies.plan import Study, StudyRun, studies_folder
from rsna_det.training.callbacks import LOGGED_AS

with warnings.catch_warnings():
    # Of the library itself, which still uses an old form of pydantic's.
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    import wandb_workspaces.workspaces as ws
    from wandb_workspaces import expr
    from wandb_workspaces.reports.v2.interface import BarPlot, LinePlot, MediaBrowser

HELP = Help(
    what="Make a Weights & Biases workspace that compares a study's variants: curves, best and last values, pictures. "
    "Without `logger.wandb.mode=online` it is written to studies/<study>/workspace.json, and nothing is sent.",
    usage="rsna_det.dashboard <study> [option=value ...]",
    examples={
        "python -m rsna_det.dashboard augmentations": "into a file",
        "python -m rsna_det.dashboard augmentations logger.wandb.mode=online": "into W&B, after `wandb login`",
    },
    options={
        "logger.wandb.mode=online": "save it in W&B",
        "logger.wandb.project=<name>": "of W&B",
        "logger.wandb.entity=<name>": "of W&B; by default your own",
        "paths.studies=<folder>": "where studies lie",
    },
    groups={"sweep": "the studies"},
    read_on="Further options are those of training: `python -m rsna_det.train --help`.",
    config="train",
)

FILE = "workspace.json"
"""In a study's folder."""

# Roles of the options in which variants can differ; the runs of one variant differ in fold and seed.
_OF_A_VARIANT = (Role.NAME, Role.METHOD, Role.TRAINING, Role.SOURCE)

_SECTIONS: Mapping[str, Sequence[str]] = {
    "Validation mAP: at the fixed threshold, and at each epoch's best (optimistic)": (
        "val/map",
        "val/map_best",
    ),
    "Losses": ("val/loss", "val/box_regression", "val/box_class", "val/global_class", "train/loss"),
    "Global output": ("val/global_auc", "val/global_accuracy"),
}
_COMPARED = ("val/map", "val/map_best", "val/loss", "val/box_regression")
_FEWEST_RUNS = 10


def main() -> None:
    """Save a study's workspace in W&B if that is asked for and possible; otherwise write it to a file."""
    set_up()
    with errors_as_messages():
        name, overrides = study_and_overrides(command_line(HELP))
        log_errors_to(studies_folder(places_of(overrides)) / name / "dashboard.log")
        study = _study(name, overrides)
        options = _logger_options(study, overrides)
        problem = _problem(options)
        if problem is None:
            problem = _save(study, options)
        if problem is None:
            return
        path = write_workspace(study_workspace(study, options), study.folder / FILE)
        print_table(
            f"the workspace of {name} is in {path}, not saved in W&B: {problem}. To save it, run `wandb login`, then "
            "this command with logger.wandb.mode=online",
            (),
        )


def study_workspace(study: Study, options: Mapping[str, Any]) -> ws.Workspace:
    """Curves over epochs, summaries and images of a study's runs, grouped by the options in which variants differ.

    Args:
        study: with its runs.
        options: of the W&B logger: ``project``, ``entity`` and ``group``.
    """
    keys = variant_options([_composed(run.overrides) for run in _one_a_variant(study)]) or ["name"]
    return ws.Workspace(
        entity=options["entity"] or "",
        project=options["project"],
        name=f"study {study.name}",
        sections=list(_sections()),
        settings=ws.WorkspaceSettings(x_axis=EPOCH, max_runs=max(_FEWEST_RUNS, len(study.runs))),
        runset_settings=ws.RunsetSettings(
            filters=expr.And(expr.Metric("Group") == options["group"]),
            groupby=[expr.Config(key) for key in keys],
            pinned_columns=[f"summary:{_summary(name)}" for name in _COMPARED],
        ),
    )


def variant_options(variants: Sequence[TrainOptions]) -> list[str]:
    """The fewest options whose values distinguish the variants; of equally good ones the first.

    Args:
        variants: the options of one run of each.

    Returns:
        Dotted keys; none for fewer than two variants.
    """
    flat = [dict(_options(options)) for options in variants]
    keys = [key for key in dict.fromkeys(key for one in flat for key in one) if len({one.get(key) for one in flat}) > 1]
    chosen: list[str] = []
    while True:
        distinguished = {key: len({tuple(one.get(k) for k in (*chosen, key)) for one in flat}) for key in keys}
        best = max(distinguished, key=lambda key: distinguished[key], default=None)
        if best is None or distinguished[best] <= len({tuple(one.get(k) for k in chosen) for one in flat}):
            return chosen
        chosen.append(best)


def write_workspace(workspace: ws.Workspace, path: Path) -> Path:
    """Write a workspace as W&B stores it."""
    # The library itself writes to the server only.
    text = workspace._to_model().model_dump_json(by_alias=True, exclude_none=True, indent=1)  # noqa: SLF001
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text + "\n")
    return path


def _study(name: str, overrides: Sequence[str]) -> Study:
    """The study as last started, or as the given options would start it; those of the logger do not count."""
    others = [override for override in overrides if not override_key(override).startswith("logger")]
    return find_study(name, others if len(places_of(others)) == len(others) else overrides)


def _logger_options(study: Study, overrides: Sequence[str]) -> Mapping[str, Any]:
    """The W&B logger's options of the study's runs, overridden by the command line's."""
    changes = [override for override in overrides if override_key(override).startswith("logger")]
    logger = _composed([*study.runs[0].overrides, *changes]).logger
    if "wandb" not in logger:
        raise ConfigError(f"the runs of {study.name} do not log to W&B: leave out logger=csv, or give logger=wandb")
    return logger["wandb"]


def _problem(options: Mapping[str, Any]) -> str | None:
    """Why the workspace cannot be saved; without the user's request nothing is sent."""
    if options["mode"] != "online":
        return f"logger.wandb.mode is {options['mode']}"
    problem = server_problem()
    if problem is None and not logged_in():
        return "you are not logged in"
    return problem


def _save(study: Study, options: Mapping[str, Any]) -> str | None:
    """Save the workspace and print its address; the reason if W&B cannot save it, else None."""
    workspace: Any = study_workspace(study, options)
    try:
        workspace.entity = options["entity"] or default_entity()
        address = workspace.save().url
    except Exception as error:  # noqa: BLE001  # whatever W&B's library raises: the file is written instead
        return f"{type(error).__name__}: {error}"
    print_table(f"the workspace of {study.name} is saved: {address}", ())
    return None


def _composed(overrides: Sequence[str]) -> TrainOptions:
    config = compose_config("train", overrides)
    config.run_dir = "."
    # The overrides are a record's: nothing that they name is imported.
    return check_values(plain_values(config), TrainOptions, components=False)


def _one_a_variant(study: Study) -> list[StudyRun]:
    found = {
        tuple(override for override in run.overrides if not _repeats(override)): run for run in reversed(study.runs)
    }
    return list(reversed(found.values()))


def _repeats(override: str) -> bool:
    """Whether an override sets the fold or the seed."""
    try:
        return role_of(override_key(override)) is Role.REPEAT
    except ConfigError:
        # A group, such as experiment=light_aug, is not an option itself.
        return False


def _options(options: TrainOptions) -> Iterator[tuple[str, str]]:
    for key, value in flat_options(as_plain(options)):
        if key != "study" and role_of(key) in _OF_A_VARIANT:
            yield key, json.dumps(value)


def _sections() -> Iterator[ws.Section]:
    for title, names in _SECTIONS.items():
        yield _section(title, [_curves(name) for name in names])
    yield _section("Best and last epochs", [_bars(name) for name in _COMPARED])
    yield _section("Detections", [MediaBrowser(title=LOGGED_AS, media_keys=[LOGGED_AS])])


def _section(title: str, shown: Sequence[Any]) -> ws.Section:
    # A section's own settings override the workspace's.
    settings = ws.SectionPanelSettings(x_axis=EPOCH)
    return ws.Section(name=title, panels=list(shown), is_open=True, panel_settings=settings)


def _curves(name: str) -> LinePlot:
    """Mean over a variant's folds and seeds, with the range from the lowest to the highest."""
    return LinePlot(title=name, x=EPOCH, y=[name], title_x=EPOCH, groupby_aggfunc="mean", groupby_rangefunc="minmax")


def _bars(name: str) -> BarPlot:
    return BarPlot(
        title=f"{name}: {SUMMARIES[name]} over epochs, and last",
        metrics=[_summary(name), f"{name}.last"],
        groupby_aggfunc="mean",
        groupby_rangefunc="minmax",
    )


def _summary(name: str) -> str:
    return f"{name}.{SUMMARIES[name]}"


if __name__ == "__main__":
    main()
