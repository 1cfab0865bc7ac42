"""Figure 5: radiographs with their boxes under the five augmentation sets.

``python -m experiments.augmented_examples data.root=<challenge folder>``; ``python -m rsna_det.prepare sheets=true``
draws one radiograph nine times under each set.
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
from rsna_det.errors import InvalidValueError

_SIDE = 320


def augmented_parts(options: FigureOptions, folder: Path) -> list[Part]:
    """One row per radiograph, one column per augmentation set.

    Raises:
        RsnaDetError: if labels or images are missing, damaged or without boxes, or ``radiographs`` is below 1.
    """
    if options.radiographs < 1:
        raise InvalidValueError(f"radiographs is {options.radiographs}; expected 1 or more")
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
        f"Each radiograph under one draw of each set (the seed of the first row is {options.seed}), at the network's "
        f"{options.data['image_size']} px, with the boxes to detect. The sets share their geometric draws: a step that "
        "two sets have in common goes the same way, within the limits of each. The boxes of heavy_aug and "
        "heavy_aug_customrot differ only in their rule: around the corners, or around the thirds of the edges "
        "(figure 6)."
    )
    return [Part(name="augmented_examples", title="The five augmentation sets (figure 5)", text=text, figure=path)]


def augmentation_sets() -> dict[str, Augmentation]:
    """The augmentations of the study's experiments by name, in their order."""
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
