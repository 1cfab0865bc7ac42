"""Figure 3 and section 4.4: with and without the global class output."""

from functools import partial

from experiments.reporting.losses import loss_curves, lowest_epochs, lowest_losses
from experiments.reporting.report import main
from experiments.reporting.study_report import StudyReport

REPORT = StudyReport(
    study="multitask",
    title="With and without the global output (figure 3)",
    option="model.global_head",
    baseline="False",
    labels={"True": "with global output", "False": "without global output"},
    parts=(
        loss_curves,
        partial(
            lowest_losses,
            claim='"making the model predict the other related function improved the result compared to training the '
            'regression-only output of the model" (section 4.4, figure 3).',
        ),
        partial(
            lowest_epochs,
            claim='"the classification output overfits faster than the detected anchors\' positions/size regression" '
            "(section 4.4).",
        ),
    ),
)

if __name__ == "__main__":
    main(REPORT)
