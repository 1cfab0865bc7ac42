"""The recipe of the paper's text, and that of its published code where the two differ."""

from experiments.reporting.report import main
from experiments.reporting.study_report import StudyReport

REPORT = StudyReport(
    study="published",
    title="The paper's text and its published code",
    option="name",
    baseline="heavy_aug_customrot",
    labels={"heavy_aug_customrot": "the paper's text", "published_code": "the published code"},
)

if __name__ == "__main__":
    main(REPORT)
