"""Section 4.1: the extra output for small anchors, P2."""

from experiments.reporting.report import main
from experiments.reporting.study_report import StudyReport

REPORT = StudyReport(
    study="p2",
    title="With and without the output for small anchors (section 4.1)",
    option="model.levels",
    baseline="[2, 3, 4, 5, 6, 7]",
    paper={},
    label=lambda levels: f"P{levels[1]} to P{levels[-2]}",
)

if __name__ == "__main__":
    main(REPORT)
