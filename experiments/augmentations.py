"""Table 3 and figure 7: the five augmentation sets."""

from functools import partial

from experiments.reporting.losses import loss_curves, lowest_epochs, lowest_losses
from experiments.reporting.report import main
from experiments.reporting.study_report import StudyReport

REPORT = StudyReport(
    study="augmentations",
    title="Augmentation sets (table 3, figure 7)",
    option="name",
    baseline="no_aug",
    labels={
        "no_aug": "no augmentation",
        "light_aug": "light augmentation",
        "heavy_aug": "heavy augmentation",
        "heavy_aug_customrot": "heavy with edge-third boxes",
        "heavy_aug_norot": "heavy without rotation",
    },
    paper={
        "no_aug": 0.246127,
        "light_aug": 0.254429,
        "heavy_aug": 0.250230,
        "heavy_aug_customrot": 0.255617,
        "heavy_aug_norot": 0.260971,
    },
    parts=(
        loss_curves,
        partial(
            lowest_losses,
            claim='"With light and heavy augmentations, the same model showed better validation loss and mAP scores" '
            "(section 5.1, figure 7).",
        ),
        partial(
            lowest_epochs,
            claim='"Without enough image augmentations the model showed signs of overfitting when the validation loss '
            'stopped improving" (section 5.1, figure 7).',
        ),
    ),
)

if __name__ == "__main__":
    main(REPORT)
