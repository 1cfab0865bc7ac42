"""The picture at the top of the README: ``python -m docs.picture <run folder> <file>``, after ``make demo``.

Radiographs that the run's detector was not trained on, with what it detects in them: the first with labelled boxes, and
the first with another number of them.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from rsna_det import Detector, read_radiograph
from rsna_det.config.console import errors_as_messages, set_up
from rsna_det.data.layout import IMAGES_DIR
from rsna_det.drawing.annotated import annotated
from rsna_det.drawing.boxes import DETECTION_COLOUR, TRUTH_COLOUR
from rsna_det.runs.folder import RunFolder

RADIOGRAPHS = 2
GREYS, SHADES = 24, 3


def main() -> None:
    """Write the picture of a run to a file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("target", type=Path, help="PNG to write")
    given = parser.parse_args()
    set_up()
    with errors_as_messages():
        picture = Image.fromarray(picture_of(RunFolder(given.run)))
        given.target.parent.mkdir(parents=True, exist_ok=True)
        picture.quantize(palette=few_colours(), dither=Image.Dither.NONE).save(given.target, optimize=True)


def picture_of(run: RunFolder) -> np.ndarray:
    """Radiographs of the run's validation fold side by side, as ``rsna_det.predict`` draws them."""
    folder = Path(run.options().data["root"]) / IMAGES_DIR
    images = run.tables.truth().query("role == 'val'").sort_values("image_id")
    counts = images["boxes"].str.len()
    detector = Detector.from_checkpoints(run.best_checkpoint, device="cpu")
    pictures = []
    for _, row in images.loc[counts[counts > 0].drop_duplicates().index[:RADIOGRAPHS]].iterrows():
        pixels = read_radiograph(folder / f"{row['image_id']}.dcm")
        truths = np.array([*row["boxes"]], np.float32).reshape(-1, 4)
        pictures.append(annotated(pixels, detections=detector(pixels), truths=truths, caption=["drawn radiograph"]))
    return np.hstack(pictures)


def few_colours() -> Image.Image:
    """A palette of greys and of the boxes' colours, which keeps the file small and the boxes bright."""
    greys = [(grey, grey, grey) for grey in np.linspace(0, 255, GREYS).round().astype(int)]
    fractions = np.linspace(1, 0, SHADES, endpoint=False)
    boxes = [tuple(round(f * c) for c in colour) for colour in (DETECTION_COLOUR, TRUTH_COLOUR) for f in fractions]
    palette = Image.new("P", (1, 1))
    palette.putpalette([int(value) for colour in [*greys, *boxes] for value in colour])
    return palette


if __name__ == "__main__":
    main()
