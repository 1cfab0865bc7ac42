"""Section 4.1: training on all images, or only on those with boxes."""

from experiments.reporting.report import main
from experiments.reporting.study_report import StudyReport

REPORT = StudyReport(
    study="negatives",
    title="Training on all images, or only on those with boxes (section 4.1)",
    option="data.train_negatives",
    baseline="True",
    labels={"True": "all images", "False": "only images with boxes"},
)

if __name__ == "__main__":
    main(REPORT)
