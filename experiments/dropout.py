"""Figure 4 and section 4.4: dropout on the global class output."""

from experiments.reporting.report import main
from experiments.reporting.study_report import StudyReport

REPORT = StudyReport(
    study="dropout",
    title="Dropout on the global output (figure 4)",
    option="model.dropout_global",
    baseline="0.0",
    paper={},
)

if __name__ == "__main__":
    main(REPORT)
