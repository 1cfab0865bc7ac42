"""Figure 2: encoders. The paper shows losses; this compares what counts, the score."""

from experiments.reporting.report import main
from experiments.reporting.study_report import StudyReport

REPORT = StudyReport(
    study="encoders", title="Encoders (figure 2)", option="encoder.name", baseline="resnet50", paper={}
)

if __name__ == "__main__":
    main(REPORT)
