"""Figure 3 and section 4.4: with and without the global class output."""

from experiments.reporting.report import main
from experiments.reporting.study_report import StudyReport

REPORT = StudyReport(
    study="multitask",
    title="With and without the global output (figure 3)",
    option="model.global_head",
    baseline="False",
    paper={},
)

if __name__ == "__main__":
    main(REPORT)
