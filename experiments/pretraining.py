"""Section 4.2: an encoder pre-trained on ImageNet, or none."""

from experiments.reporting.report import main
from experiments.reporting.study_report import StudyReport

REPORT = StudyReport(
    study="pretraining",
    title="Pre-trained on ImageNet or not (section 4.2)",
    option="encoder.pretrained",
    baseline="False",
    paper={},
)

if __name__ == "__main__":
    main(REPORT)
