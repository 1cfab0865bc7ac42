"""The text's recipe against what the published code does where it differs."""

from experiments.runs import StudyReport, main

REPORT = StudyReport(
    study="published",
    title="The text's recipe and the published code's",
    option="name",
    baseline="heavy_aug_customrot",
    paper={},
)

if __name__ == "__main__":
    main(REPORT)
