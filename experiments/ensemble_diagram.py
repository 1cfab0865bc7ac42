"""Figure 9: how checkpoints of all folds become one set of boxes, with the numbers of the actual configuration.

``python -m experiments.ensemble_diagram predictions=<folder of a prediction>`` draws that prediction's ensemble;
without it, that of the study ``ensemble`` as it was last started or would be.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pandas as pd
import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from experiments.reporting.command import FigureReport, main
from experiments.reporting.study_report import Part
from rsna_det.config.compose import CONF, build, compose_config
from rsna_det.config.options import FigureOptions
from rsna_det.drawing.figures import save_figure
from rsna_det.errors import ConfigError
from rsna_det.evaluation.operating_point import OPERATING_POINT, SIZE_RULES, OperatingPoint, read_operating_point
from rsna_det.models.ensemble import HIGH, LOW
from rsna_det.predict.folder import MEMBERS
from rsna_det.studies.plan import LAUNCHES, launched_study

_STUDY = "ensemble"
# So many epochs of a fold are named one by one.
_LISTED = 3


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """What the diagram shows.

    Attributes:
        name: of the experiment.
        checkpoints: epochs of the members of each fold.
        point: how boxes are made of them.
        decided: whether the size rule is that of a prediction; in a study it is still to be chosen.
        source: where the numbers come from, for the text.
    """

    name: str
    checkpoints: Mapping[int, Sequence[int]]
    point: OperatingPoint
    decided: bool
    source: str

    @property
    def members(self) -> int:
        """Checkpoints in all."""
        return sum(map(len, self.checkpoints.values()))


def diagram_parts(options: FigureOptions, folder: Path) -> list[Part]:
    """The diagram, and its numbers as a table.

    Raises:
        ConfigError: if ``predictions`` is no folder of a prediction.
        ValueError: if one of its files is damaged.
    """
    found = _of_prediction(options.predictions) if options.predictions else _of_study(options)
    path = folder / "ensemble_diagram.png"
    _draw(found, path)
    text = (
        f'Numbers of {found.source}. The paper combines "the outputs from the same model for 4 cross-validation folds '
        'and several checkpoints" before NMS (section 7). Its "NMS thresholds" between 0.45 and 1 (section 6) are, in '
        "its published code, five times the score cut; the IoU of its NMS is 0.05 throughout."
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
            f"predictions={source} is no folder of a prediction: it lacks {OPERATING_POINT} or {MEMBERS}; make one "
            "with `python -m rsna_det.predict checkpoints=<files> images=<folder> out=<folder>`"
        )
    members = pd.read_csv(source / MEMBERS)
    folds = {int(str(fold)): sorted(own["epoch"].astype(int)) for fold, own in members.groupby("fold")}
    names = " and ".join(sorted(set(members["name"].astype(str))))
    point = read_operating_point(source / OPERATING_POINT)
    return Ensemble(name=names, checkpoints=folds, point=point, decided=True, source=f"the prediction {source}")


def _of_study(options: FigureOptions) -> Ensemble:
    """Of the study's last start; of its configuration where there was none."""
    places = [f"paths.studies='{options.paths.studies}'"]
    if list((options.paths.studies / _STUDY / LAUNCHES).glob("*.json")):
        study = launched_study(_STUDY, places)
        trains = [compose_config("train", run.overrides) for run in study.runs]
        folds = {train.data.fold: range(train.trainer.max_epochs) for train in trains}
        train, source = trains[0], f"the study {_STUDY} as it was last started, a checkpoint an epoch"
    else:
        params = yaml.safe_load((CONF / "sweep" / f"{_STUDY}.yaml").read_text(encoding="utf-8"))["hydra"]["sweeper"]
        train = compose_config("train", [f"{key}={value}" for key, value in params["params"].items()])
        folds = {fold: range(train.trainer.max_epochs) for fold in range(train.data.num_folds)}
        source = f"conf/sweep/{_STUDY}.yaml, a checkpoint an epoch; the study has not been started"
    point = OperatingPoint.of_run(decoding=build(train.decoding), image_size=train.data.image_size)
    return Ensemble(name=train.name, checkpoints=folds, point=point, decided=False, source=source)


def _table(found: Ensemble) -> pd.DataFrame:
    point = found.point
    rows = {
        "experiment": found.name,
        "folds": str(len(found.checkpoints)),
        "checkpoints in all": str(found.members),
        "side of the network's image (px)": f"{point.image_size}",
        "score above which a box is a candidate": f"{point.score_floor:g}",
        "candidates of an image": f"{point.max_candidates}",
        "IoU of NMS": f"{point.nms_iou:g}",
        "share of an image's best score": f"{point.relative_cut:g}",
        "score cut": f"{point.cut:g}",
        "size rule": point.size_rule if found.decided else "to be chosen",
        "spread taken off by the percentile rule": f"{point.size_scale:g}",
        "factor of the re-scaling rule": f"{point.rescale_factor:g}",
    }
    return pd.DataFrame(rows.items(), columns=["what", "value"])


def _draw(found: Ensemble, path: Path) -> None:
    """Left to right: image, members, their mean, candidates, NMS and cuts, boxes."""
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
    """Text and colour of the boxes after the members."""
    point = found.point
    # What a prediction does not use is not shown; before it is chosen all rules are.
    percentile = (
        f"\n\nrule percentile:\ndw, dh = p{LOW * 100:g} +\n{point.size_scale:g} (p{LOW * 100:g} - p{HIGH * 100:g})"
    )
    rescale = f"\n\nrule re-scaled:\nwidth and height\ntimes {point.rescale_factor:g}"
    relative = f"at least {point.relative_cut:g} of\nthe image's best score"
    none = "\n\nrule none:\nsizes as they are"
    shown = (point.size_rule,) if found.decided else SIZE_RULES
    mean = (
        "head outputs averaged\nfor each anchor\n\nscores, global class:\nas probabilities\n\nbox deltas:\nas numbers"
    )
    return [
        (mean + (percentile if "percentile" in shown else ""), "#e3f1df"),
        (
            f"decoding\n\nscore above {point.score_floor:g}\n\nthe best {point.max_candidates}\nof an image",
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
    """A rounded box about a centre, in percent of the picture."""
    style = "round,pad=0,rounding_size=0.8"
    patch = FancyBboxPatch(
        (x - width / 2, y - height / 2), width, height, boxstyle=style, facecolor=colour, edgecolor="0.35"
    )
    axes.add_patch(patch)
    axes.text(x, y, text, ha="center", va="center", fontsize=10, linespacing=1.3)
    return patch


def _arrow(axes: Axes, left: FancyBboxPatch, right: FancyBboxPatch, *, level: bool = False) -> None:
    """From the right edge of one box to the left edge of another, at its middle or at the first one's height."""
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
