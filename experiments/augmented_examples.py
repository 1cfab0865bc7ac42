"""Figure 5: radiographs with their boxes under the five augmentation sets.

``python -m experiments.augmented_examples data.root=<challenge folder>``; for one radiograph under nine draws of every
set ``python -m rsna_det.prepare sheets=true``.
"""

from pathlib import Path

import yaml

from experiments.reporting.command import FigureReport, main
from experiments.reporting.labelled import labelled_images
from experiments.reporting.study_report import Part
from rsna_det.config.compose import CONF, build, compose_config
from rsna_det.config.options import FigureOptions
from rsna_det.data.augmentation.examples import Example, rows_with_boxes, save_examples
from rsna_det.data.augmentation.presets import Augmentation

_SIDE = 320


def augmented_parts(options: FigureOptions, folder: Path) -> list[Part]:
    """A row a radiograph, a column a set.

    Raises:
        FileNotFoundError: if labels or images are not there.
        ValueError: if there are no boxes, labels or a file are damaged, or no radiograph is asked for.
    """
    if options.radiographs < 1:
        raise ValueError(f"radiographs is {options.radiographs}; expected 1 or more")
    root, images = labelled_images(options.data)
    boxed = rows_with_boxes(images, image_id=None, where=root)
    rows = boxed.sample(min(options.radiographs, len(boxed)), random_state=options.seed)
    sets = augmentation_sets()
    examples = [
        Example(row=row, augment=augment, seed=options.seed + place, caption=name)
        for place, (_, row) in enumerate(rows.iterrows())
        for name, augment in sets.items()
    ]
    target, size = folder / "augmented_examples.png", options.data["image_size"]
    path = save_examples(target, examples, root=root, image_size=size, columns=len(sets), tile=_SIDE)
    text = (
        f"One draw of each set for each radiograph (the seed of the first row is {options.seed}), as the network gets "
        f"it at {options.data['image_size']} px, with the boxes to detect. The sets share their geometric draws: "
        "where two have a step in common, it goes the same way, as far as the set's limit lets it. The boxes of "
        "heavy_aug and heavy_aug_customrot differ by the rule alone: around the corners, around the thirds of the "
        "edges (figure 6)."
    )
    return [Part(name="augmented_examples", title="The five augmentation sets (figure 5)", text=text, figure=path)]


def augmentation_sets() -> dict[str, Augmentation]:
    """The augmentations of the study's experiments, by their names and in their order."""
    study = yaml.safe_load((CONF / "sweep" / "augmentations.yaml").read_text(encoding="utf-8"))
    names = str(study["hydra"]["sweeper"]["params"]["experiment"]).split(",")
    return {name: build(compose_config("train", [f"experiment={name}"]).augmentation) for name in names}


FIGURE = FigureReport(
    name="augmented_examples",
    title="Augmented radiographs (figure 5)",
    takes=("data", "radiographs", "seed"),
    parts=augmented_parts,
)

if __name__ == "__main__":
    main(FIGURE)
