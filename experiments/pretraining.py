"""Section 4.2: an encoder pre-trained on ImageNet, or from random weights with its statistics trained or frozen."""

from functools import partial

from experiments.reporting.losses import loss_curves, lowest_epochs, lowest_losses
from experiments.reporting.report import main
from experiments.reporting.study_report import StudyReport

REPORT = StudyReport(
    study="pretraining",
    title="Encoder pre-trained on ImageNet, or random weights (section 4.2, figure 4)",
    option="encoder.pretrained,encoder.freeze_statistics",
    baseline="True, True",
    labels={
        "True, True": "ImageNet weights",
        "False, False": "random weights",
        "False, True": "random weights, frozen statistics",
    },
    parts=(
        loss_curves,
        partial(
            lowest_losses,
            claim='"The models without pre-train on the ImageNet performed well on classification, but worse on '
            'regression task" (section 4.2).',
        ),
        partial(
            lowest_epochs,
            claim='"Without a pre-training, the models took much longer to converge" (section 4.4, figure 4).',
        ),
    ),
)

if __name__ == "__main__":
    main(REPORT)
