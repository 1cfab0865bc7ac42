"""Figure 6: the upright box around a rotated one's corners, or around the thirds of its edges; how much each grows.

``python -m experiments.edge_third_rotation``; ``data.root=<folder of the labels>`` adds the boxes of the data.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle

from experiments.reporting.command import FigureReport, main
from experiments.reporting.labelled import labelled_images
from experiments.reporting.study_report import Part
from rsna_det.config.options import FigureOptions
from rsna_det.data.augmentation.geometry import BoxRule, WarpDraw, box_points, map_boxes, map_points, source_map
from rsna_det.drawing.figures import save_figure
from rsna_det.errors import DataError

RULES: dict[BoxRule, str] = {"corners": "around the corners", "edge_thirds": "around the thirds of the edges"}
ANGLES = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 10.0, 15.0)
"""In degrees; the light set rotates by up to 5, the heavy ones by up to 6."""

SHAPES = {"square": (0.2, 0.2), "twice as tall as wide": (0.15, 0.3)}
"""Width and height as shares of the image's side."""

_DRAWN_ANGLE = 15.0
_SIDE = 1024


def rotation_parts(options: FigureOptions, folder: Path) -> list[Part]:
    """A drawing of the two rules, and the growth of boxes by angle.

    Raises:
        RsnaDetError: if the labels are missing or damaged, or have no boxes.
    """
    shapes = {name: _centred(*sides) for name, sides in SHAPES.items()}
    if options.data:
        root, images = labelled_images(options.data)
        shapes[f"mean over the boxes of {root.name}"] = np.concatenate([*images["boxes"]]).astype(np.float64)
    path = folder / "edge_third_rotation.png"
    _draw(path)
    text = (
        f"A box rotated by {_DRAWN_ANGLE:g} degrees (more than in any augmentation set, to show the effect). Dashed: "
        "the labelled box. Grey: the box rotated with the image. Red: the upright box that the network is trained on. "
        "Around the corners it contains the whole rotated box, and more. Around the points at 1/3 and 2/3 of each edge "
        "it cuts the corners off.\n\nThe table gives the area of the new box as a multiple of the labelled box's, "
        "before clipping to the image. Without rotation both rules leave a box as it is."
    )
    return [
        Part(
            name="edge_third_rotation",
            title="Boxes of rotated radiographs (figure 6)",
            text=text,
            table=growth_table(shapes, ANGLES),
            figure=path,
        )
    ]


def growth_table(shapes: dict[str, Float[np.ndarray, "_ 4"]], angles: Sequence[float]) -> pd.DataFrame:
    """Mean growth of boxes' areas under rotations about the centre of the image.

    Args:
        shapes: boxes by name, in pixels of an image of 1,024 x 1,024.
        angles: in degrees.

    Returns:
        One row per angle: ``angle (degrees)``, and for each shape and rule the growth of the area, as a factor.

    Raises:
        DataError: if a shape has no boxes.
    """
    empty = [name for name, boxes in shapes.items() if not len(boxes)]
    if empty:
        raise DataError(f"{', '.join(empty)}: there are no boxes to rotate")
    rows = []
    for angle in angles:
        row = {"angle (degrees)": angle}
        for name, boxes in shapes.items():
            for rule, where in RULES.items():
                row[f"{name}, {where}"] = float(np.mean(_areas(_rotated(boxes, angle, rule)) / _areas(boxes)))
        rows.append(row)
    return pd.DataFrame(rows)


def _centred(width: float, height: float) -> Float[np.ndarray, "1 4"]:
    half = np.array([[width, height]]) * _SIDE / 2
    return np.concatenate([_SIDE / 2 - half, _SIDE / 2 + half], axis=1)


def _rotation(angle: float) -> Float[np.ndarray, "3 3"]:
    """From the labelled image to the rotated one, as in the augmentation."""
    draw = WarpDraw(
        flip=False, scale=(1.0, 1.0), rotation=angle, shear=0.0, shift=(0.0, 0.0), corner_shifts=np.zeros((4, 2))
    )
    return np.linalg.inv(source_map(draw, height=_SIDE, width=_SIDE))


def _rotated(boxes: Float[np.ndarray, "boxes 4"], angle: float, rule: BoxRule) -> Float[np.ndarray, "boxes 4"]:
    return map_boxes(boxes, _rotation(angle), rule=rule)


def _areas(boxes: Float[np.ndarray, "boxes 4"]) -> Float[np.ndarray, " boxes"]:
    return np.asarray((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), np.float64)


def _draw(path: Path) -> None:
    figure = Figure(figsize=(10, 5.6), layout="constrained")
    panels = figure.subplots(1, len(RULES), sharex=True, sharey=True)
    box = _centred(0.3, 0.45)
    for axes, (rule, where) in zip(panels, RULES.items(), strict=True):
        new = _rotated(box, _DRAWN_ANGLE, rule)
        _draw_rule(axes, box, new, rule)
        axes.set_title(f"{where}: {_areas(new)[0] / _areas(box)[0]:.2f} times the area")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=9)
    figure.suptitle(f"A box rotated by {_DRAWN_ANGLE:g} degrees")
    save_figure(figure, path)


def _draw_rule(axes: Axes, box: Float[np.ndarray, "1 4"], new: Float[np.ndarray, "1 4"], rule: BoxRule) -> None:
    rotation = _rotation(_DRAWN_ANGLE)
    corners = map_points(box_points(box, rule="corners"), rotation)[0]
    points = map_points(box_points(box, rule=rule), rotation)[0]
    axes.add_patch(_rectangle(box[0], edgecolor="black", linestyle="--", zorder=3, label="as labelled"))
    axes.add_patch(Polygon(corners, facecolor="0.85", edgecolor="0.5", label="rotated"))
    axes.plot(*points.T, "o", color="tab:blue", label="points that the new box encloses")
    axes.add_patch(_rectangle(new[0], edgecolor="tab:red", linewidth=2, label="new box"))
    margin = 0.18 * _SIDE
    axes.set(xlim=(margin, _SIDE - margin), ylim=(_SIDE - margin, margin), aspect="equal", xticks=[], yticks=[])


def _rectangle(box: Float[np.ndarray, " 4"], **style: object) -> Rectangle:
    x1, y1, x2, y2 = box.tolist()
    return Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, **style)  # type: ignore[arg-type]


FIGURE = FigureReport(
    name="edge_third_rotation",
    title="Rotation by the thirds of the edges (figure 6)",
    takes=("data",),
    parts=rotation_parts,
    needs_data=False,
)

if __name__ == "__main__":
    main(FIGURE)
