"""Section 4.1: P2, the extra pyramid level for small anchors."""

from experiments.reporting.report import main
from experiments.reporting.study_report import StudyReport

REPORT = StudyReport(
    study="p2",
    title="With and without P2, the pyramid level for small anchors (section 4.1)",
    option="model.levels",
    baseline="[2, 3, 4, 5, 6, 7]",
    labels={"[2, 3, 4, 5, 6, 7]": "with P2", "[3, 4, 5, 6, 7]": "without P2"},
    other_labels="pyramid levels {}",
)

if __name__ == "__main__":
    main(REPORT)
