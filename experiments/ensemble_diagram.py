"""Figure 9: how the checkpoints of all folds make one set of boxes, with the numbers of an actual ensemble.

``python -m experiments.ensemble_diagram predictions=<folder of a prediction>`` draws the ensemble of that prediction;
without it, that of the study ``ensemble`` as last started, or as configured.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pandas as pd
import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from experiments.reporting.command import FigureReport, main
from experiments.reporting.study_report import Part
from rsna_det.config.check import check_values
from rsna_det.config.compose import CONF, compose_config
from rsna_det.config.options import FigureOptions, TrainOptions
from rsna_det.config.saved import plain_values
from rsna_det.drawing.figures import save_figure
from rsna_det.errors import ConfigError, DataError
from rsna_det.evaluate.report import operating_point_table
from rsna_det.evaluation.operating_point import OPERATING_POINT, SIZE_RULES, OperatingPoint, read_operating_point
from rsna_det.files.tables import read_csv_text
from rsna_det.models.ensemble import HIGH, LOW
from rsna_det.predict.folder import MEMBERS
from rsna_det.runs.description import read_decoding
from rsna_det.studies.plan import LAUNCHES, launched_study

_STUDY = "ensemble"
# More epochs of a fold than this are given as a range.
_LISTED = 3


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """An ensemble to draw.

    Attributes:
        name: of the experiment.
        checkpoints: epochs of the members of each fold.
        point: the operating point.
        decided: whether the size rule was chosen, as in a prediction; for a study it is still open.
        source: of the numbers, for the text.
    """

    name: str
    checkpoints: Mapping[int, Sequence[int]]
    point: OperatingPoint
    decided: bool
    source: str

    @property
    def members(self) -> int:
        """Number of checkpoints."""
        return sum(map(len, self.checkpoints.values()))


def diagram_parts(options: FigureOptions, folder: Path) -> list[Part]:
    """The diagram, and its numbers as a table.

    Raises:
        RsnaDetError: if ``predictions`` is not the folder of a prediction, or one of its files is damaged.
    """
    found = _of_prediction(options.predictions) if options.predictions else _of_study(options)
    path = folder / "ensemble_diagram.png"
    _draw(found, path)
    text = (
        f'The numbers are those of {found.source}. The paper combines "the outputs from the same model for 4 '
        'cross-validation folds and several checkpoints" before NMS (section 7). Its "NMS thresholds" between 0.45 and '
        "1 (section 6) are five times the score threshold in its published code, where the NMS IoU is always 0.05."
    )
    return [
        Part(
            name="ensemble_diagram",
            title="The ensemble (figure 9)",
            text=text,
            table=_table(found),
            figure=path,
        )
    ]


def _of_prediction(source: Path) -> Ensemble:
    if not (source / OPERATING_POINT).is_file() or not (source / MEMBERS).is_file():
        raise ConfigError(
            f"predictions={source} is not the folder of a prediction: it lacks {OPERATING_POINT} or {MEMBERS}; make "
            "one with `python -m rsna_det.predict checkpoints=<files> images=<folder> out=<folder>`"
        )
    members = _members(source / MEMBERS)
    folds = {int(str(fold)): sorted(own["epoch"]) for fold, own in members.groupby("fold")}
    names = " and ".join(sorted(set(members["name"])))
    point = read_operating_point(source / OPERATING_POINT)
    return Ensemble(name=names, checkpoints=folds, point=point, decided=True, source=f"the prediction {source}")


def _members(path: Path) -> pd.DataFrame:
    remedy = "predict again"
    members = read_csv_text(path, needed=["name", "fold", "epoch"], remedy=remedy)
    try:
        members = members.astype({"fold": int, "epoch": int})
    except ValueError as error:
        raise DataError(f"{path} is damaged ({error}): {remedy}") from error
    if members.empty:
        raise DataError(f"{path} is damaged (it has no rows): {remedy}")
    return members


def _of_study(options: FigureOptions) -> Ensemble:
    """The ensemble of the study as last started, or as configured if it never was."""
    if list((options.paths.studies / _STUDY / LAUNCHES).glob("*.json")):
        study = launched_study(_STUDY, [f"paths.studies='{options.paths.studies}'"])
        runs = [_options(run.overrides) for run in study.runs]
        source = f"the study {_STUDY} as last started, one checkpoint per epoch"
    else:
        study_file = CONF / "sweep" / f"{_STUDY}.yaml"
        params = yaml.safe_load(study_file.read_text(encoding="utf-8"))["hydra"]["sweeper"]["params"]
        first = _options([f"{key}={value}" for key, value in params.items()])
        runs = [replace(first, data=first.data | {"fold": fold}) for fold in range(first.data["num_folds"])]
        source = f"conf/sweep/{_STUDY}.yaml, one checkpoint per epoch; the study has not been started"
    folds = {run.data["fold"]: range(run.trainer["max_epochs"]) for run in runs}
    point = OperatingPoint.of_run(decoding=read_decoding(runs[0].decoding), image_size=runs[0].data["image_size"])
    return Ensemble(name=runs[0].name, checkpoints=folds, point=point, decided=False, source=source)


def _options(overrides: Sequence[str]) -> TrainOptions:
    """The options of a run of which only the method matters."""
    values = plain_values(compose_config("train", ["data.root=.", *overrides, "run_dir=."]))
    return check_values(values, TrainOptions, components=False)


def _table(found: Ensemble) -> pd.DataFrame:
    settings = operating_point_table(found.point)
    if not found.decided:
        settings.loc[settings["setting"] == "size rule", "value"] = "not chosen yet"
    ours = {"experiment": found.name, "folds": str(len(found.checkpoints)), "checkpoints": str(found.members)}
    return pd.concat([pd.DataFrame([*ours.items()], columns=settings.columns), settings], ignore_index=True)


def _draw(found: Ensemble, path: Path) -> None:
    """Left to right: radiograph, members, their mean, candidates, NMS and thresholds, boxes."""
    figure = Figure(figsize=(14, 1.9 + 0.85 * max(3, len(found.checkpoints))), layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlim=(0, 100), ylim=(0, 100))
    axes.set_axis_off()
    steps = _steps(found)
    image = _box(axes, 5.5, 50, 10, 24, f"radiograph\n\n{found.point.image_size} x {found.point.image_size} px", "0.93")
    boxes = [
        _box(axes, 38.5 + 17.7 * place, 50, 15.5, 60 if place else 88, text, colour)
        for place, (text, colour) in enumerate(steps)
    ]
    height = 100 / len(found.checkpoints)
    for place, (fold, epochs) in enumerate(found.checkpoints.items()):
        middle = 100 - height * (place + 0.5)
        member = _box(axes, 21.5, middle, 13, 0.8 * height, _member_text(fold, epochs), "#dbe9f6")
        _arrow(axes, image, member)
        _arrow(axes, member, boxes[0], level=True)
    for left, right in pairwise(boxes):
        _arrow(axes, left, right)
    figure.suptitle(f"{found.name}: {len(found.checkpoints)} folds, {found.members} checkpoints, one set of boxes")
    save_figure(figure, path)


def _steps(found: Ensemble) -> list[tuple[str, str]]:
    """Text and colour of the steps after the members."""
    point = found.point
    # A prediction shows the size rule that it uses, a study all of them.
    percentile = (
        f"\n\nrule percentile:\ndw, dh = p{LOW * 100:g} +\n{point.size_scale:g} (p{LOW * 100:g} - p{HIGH * 100:g})"
    )
    rescale = f"\n\nrule rescale:\nwidth and height\ntimes {point.rescale_factor:g}"
    relative = f"at least {point.relative_cut:g} of\nthe image's best score"
    none = "\n\nrule none:\nsizes unchanged"
    shown = (point.size_rule,) if found.decided else SIZE_RULES
    mean = (
        "mean of the head\noutputs of each anchor\n\nscores, global class:\nas probabilities\n\nbox deltas:\nas numbers"
    )
    return [
        (mean + (percentile if "percentile" in shown else ""), "#e3f1df"),
        (
            f"decoding\n\nscore above {point.score_floor:g}\n\nbest {point.max_candidates}\nof each image",
            "#fdf0d5",
        ),
        (
            f"NMS, IoU {point.nms_iou:g}\n\n{relative}\n\nscore above {point.cut:g}",
            "#fbe3d6",
        ),
        (
            "boxes" + (rescale if "rescale" in shown else "") + (none if "none" in shown else ""),
            "0.93",
        ),
    ]


def _member_text(fold: int, epochs: Sequence[int]) -> str:
    in_a_row = len(epochs) > _LISTED and list(epochs) == list(range(epochs[0], epochs[-1] + 1))
    listed = f"{epochs[0]} to {epochs[-1]}" if in_a_row else ", ".join(map(str, epochs))
    plural = "s" if len(epochs) > 1 else ""
    return f"network of fold {fold}\ncheckpoint{plural} of\nepoch{plural} {listed}"


def _box(axes: Axes, x: float, y: float, width: float, height: float, text: str, colour: str) -> FancyBboxPatch:
    """A rounded box around a centre, in percent of the picture."""
    style = "round,pad=0,rounding_size=0.8"
    patch = FancyBboxPatch(
        (x - width / 2, y - height / 2), width, height, boxstyle=style, facecolor=colour, edgecolor="0.35"
    )
    axes.add_patch(patch)
    axes.text(x, y, text, ha="center", va="center", fontsize=10, linespacing=1.3)
    return patch


def _arrow(axes: Axes, left: FancyBboxPatch, right: FancyBboxPatch, *, level: bool = False) -> None:
    """From the right edge of one box to the left edge of another: to its middle, or level with the first."""
    start = (left.get_x() + left.get_width(), left.get_y() + left.get_height() / 2)
    middle = right.get_y() + right.get_height() / 2
    inside = min(max(start[1], right.get_y() + 2), right.get_y() + right.get_height() - 2)
    end = (right.get_x(), inside if level else middle)
    axes.annotate(
        "", xy=end, xytext=start, arrowprops={"arrowstyle": "-|>", "color": "0.35", "shrinkA": 0, "shrinkB": 0}
    )


FIGURE = FigureReport(
    name="ensemble_diagram",
    title="The ensemble (figure 9)",
    takes=("predictions",),
    parts=diagram_parts,
)

if __name__ == "__main__":
    main(FIGURE)
