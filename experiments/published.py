"""The text's recipe against what the published code does where it differs."""

from experiments.reporting.report import main
from experiments.reporting.study_report import StudyReport

REPORT = StudyReport(
    study="published",
    title="The text's recipe and the published code's",
    option="name",
    baseline="heavy_aug_customrot",
    paper={},
)

if __name__ == "__main__":
    main(REPORT)
