"""Table 3 and figure 7: the five augmentation sets."""

from experiments.reporting.report import main
from experiments.reporting.study_report import StudyReport

REPORT = StudyReport(
    study="augmentations",
    title="Augmentation sets (table 3, figure 7)",
    option="name",
    baseline="no_aug",
    paper={
        "no_aug": 0.246127,
        "light_aug": 0.254429,
        "heavy_aug": 0.250230,
        "heavy_aug_customrot": 0.255617,
        "heavy_aug_norot": 0.260971,
    },
)

if __name__ == "__main__":
    main(REPORT)
