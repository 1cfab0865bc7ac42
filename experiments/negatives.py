"""Section 4.1: training images without boxes, or none of them."""

from experiments.reporting.report import main
from experiments.reporting.study_report import StudyReport

REPORT = StudyReport(
    study="negatives",
    title="With and without training images without boxes (section 4.1)",
    option="data.train_negatives",
    baseline="True",
    paper={},
    label={"True": "all images", "False": "only images with boxes"}.__getitem__,
)

if __name__ == "__main__":
    main(REPORT)
