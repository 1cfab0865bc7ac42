"""Table 4: our ensemble beside the challenge's winners, and beside single checkpoints out of fold.

``python -m experiments.challenge evaluation=<folder>`` takes a folder that ``python -m rsna_det.evaluate
predictions=...`` wrote; the study ``ensemble`` must be finished.
"""

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.reporting.command import FigureReport, main
from experiments.reporting.runs import RESAMPLES, SEED, finished_variants, score_seed
from experiments.reporting.study_report import Part, StudyReport, Variant
from rsna_det.config.options import FigureOptions
from rsna_det.drawing.tables import Style
from rsna_det.errors import ConfigError, DataError
from rsna_det.evaluation.statistics.bootstrap import ImageContributions, bootstrap_mean
from rsna_det.files.json import read_object
from rsna_det.files.tables import markdown_text, read_csv_text
from rsna_det.files.yaml import read_mapping

STUDY = StudyReport(
    study="ensemble",
    title="The ensemble (table 4)",
    option="name",
    baseline="heavy_aug_customrot",
    labels={"heavy_aug_customrot": "heavy with edge-third boxes"},
)
"""Table 4's study has one variant and no comparison: it is reported here."""

PAPER = {
    "first place (Pan and Cadrin-Chênevert)": 0.25475,
    "second place, the paper's method": 0.24781,
    "third place (Cheng)": 0.23908,
}
"""Table 4: mAP on the challenge's private test set."""

_COMMANDS = """\
  python -m rsna_det.train -m +sweep=ensemble data.root=<folder> data.patients_csv=<map>
  python -m rsna_det.predict "checkpoints='{studies}/ensemble/*/checkpoints/epoch_*.ckpt'" images=<test images> \\
      out=<prediction>
  python -m rsna_det.evaluate predictions=<prediction> labels=<labels of the test images> out=<evaluation>
  python -m experiments.challenge evaluation=<evaluation>"""
_RULES = {
    "mean": "ensemble, mean box sizes",
    "percentile": "ensemble, 20th percentile of the box sizes, reduced by their spread",
    "re-scaled": "ensemble, boxes rescaled to {factor:.1%}",
}
_REMEDY = "evaluate again"
_NEEDED = ("method", "map", "map_low", "map_high", "more_than_mean", "more_low", "more_high")
_STYLE = Style(headings={"what": "method", "difference": "difference from mean box sizes"})


def challenge_parts(options: FigureOptions, folder: Path) -> list[Part]:  # noqa: ARG001
    """Table 4 with our rows.

    Raises:
        RsnaDetError: if the study is not finished (the message lists its runs) or there is no evaluation, with the
            commands that make what is missing; or if a file is damaged.
    """
    variants = _finished(options)
    source = _evaluation(options)
    numbers = _read_numbers(source / "report.json")
    rules = _read_rules(source / "size_rules.csv")
    rows: list[dict[str, Any]] = [
        {"what": name, "images": "private test set", "map": value} for name, value in PAPER.items()
    ]
    factor = numbers["operating_point"]["rescale_factor"]
    rows += [_rule_row(rule, factor=factor, images=numbers["images"]) for rule in rules.to_dict("records")]
    rows += [_out_of_fold(variant) for variant in variants]
    text = _text(source, numbers)
    return [Part(name="challenge", title="Table 4", text=text, table=pd.DataFrame(rows), style=_STYLE)]


def _rule_row(rule: Mapping[Hashable, Any], *, factor: float, images: int) -> dict[str, Any]:
    return {
        "what": _RULES.get(rule["method"], str(rule["method"])).format(factor=factor),
        "images": f"{images:,} evaluated",
        **{name: rule[name] for name in ("map", "map_low", "map_high")},
        "difference": rule["more_than_mean"],
        "difference_low": rule["more_low"],
        "difference_high": rule["more_high"],
    }


def _commands(options: FigureOptions) -> str:
    return _COMMANDS.format(studies=options.paths.studies)


def _finished(options: FigureOptions) -> list[Variant]:
    try:
        return finished_variants(STUDY, [f"paths.studies='{options.paths.studies}'"])
    except ConfigError as error:
        raise ConfigError(f"{error}\nThese commands make table 4:\n{_commands(options)}") from error


def _evaluation(options: FigureOptions) -> Path:
    if options.evaluation is None:
        raise ConfigError(f"evaluation is not set; these commands make table 4:\n{_commands(options)}")
    source = options.evaluation
    missing = [name for name in ("report.json", "size_rules.csv") if not (source / name).is_file()]
    if missing:
        raise ConfigError(
            f"evaluation={source} has no {' and no '.join(missing)}: it is not the folder of a prediction's "
            f"evaluation; these commands make table 4:\n{_commands(options)}"
        )
    return source


def _read_numbers(path: Path) -> dict[str, Any]:
    numbers = read_object(path, remedy=_REMEDY)
    try:
        float(numbers["operating_point"]["rescale_factor"]), int(numbers["images"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{path} is damaged ({error!r}): {_REMEDY}") from error
    return numbers


def _read_rules(path: Path) -> pd.DataFrame:
    rules = read_csv_text(path, needed=["method", *_NEEDED[1:]], remedy=_REMEDY)
    try:
        rules = rules.replace("", "nan").astype(dict.fromkeys(_NEEDED[1:], float))
    except ValueError as error:
        raise DataError(f"{path} is damaged ({error}): {_REMEDY}") from error
    if rules.empty:
        raise DataError(f"{path} is damaged (it has no rows): {_REMEDY}")
    return rules


def _out_of_fold(variant: Variant) -> dict[str, Any]:
    """One checkpoint per fold, epoch and score threshold chosen honestly, on the images that its fold held out."""
    seeds = [score_seed(folders) for folders in variant.seeds.values()]
    images = seeds[0].joined.images
    mean = ImageContributions.mean([seed.contributions for seed in seeds])
    own = bootstrap_mean(mean, true_patients=images["true_patient"].tolist(), resamples=RESAMPLES, seed=SEED)
    return {
        "what": f"one checkpoint, {STUDY.label(variant.name)}",
        "images": f"{len(images):,} out of fold",
        "map": own.estimate,
        "map_low": own.low,
        "map_high": own.high,
    }


def _text(source: Path, numbers: dict[str, Any]) -> str:
    saved = source / ".hydra" / "config.yaml"
    config = read_mapping(saved, remedy=_REMEDY) if saved.is_file() else {}
    asked = f"{config.get('predictions', 'a prediction')}, scored with {config.get('labels', 'labels')}"
    return (
        f"Our ensemble is that of {markdown_text(f'{source}: {asked}')}, {int(numbers['images']):,} images. "
        "The winners' mAP is on the "
        "challenge's private test set, labelled by the agreement of several readers. Compare it with ours only if ours "
        "is on the same images and labels. Intervals are 95% bootstraps over true patients. Differences are paired "
        "over the same images.\n\nThe last row is of single checkpoints on the images that their fold held out, "
        "labelled by one reader, with epoch and score threshold chosen honestly. Images and labels are others than the "
        "ensemble's, so the difference between the two does not measure the benefit of the ensemble. An ensemble "
        "looks better than it is on images that its members were trained on; the evaluation's report says whether it "
        "has seen any."
    )


FIGURE = FigureReport(
    name="challenge",
    title="The challenge (table 4)",
    takes=("evaluation",),
    parts=challenge_parts,
)

if __name__ == "__main__":
    main(FIGURE)
