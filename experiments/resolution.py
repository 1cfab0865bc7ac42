"""Section 5: 256 or 512 px."""

from experiments.reporting.report import main
from experiments.reporting.study_report import StudyReport

REPORT = StudyReport(
    study="resolution", title="Side of the images (section 5)", option="data.image_size", baseline="512", paper={}
)

if __name__ == "__main__":
    main(REPORT)
