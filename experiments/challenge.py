"""Table 4: our ensemble beside the challenge's leaders, and beside single checkpoints out of fold.

``python -m experiments.challenge evaluation=<folder>``, one that ``python -m rsna_det.evaluate predictions=...`` wrote;
the study ``ensemble`` must be finished.
"""

import json
import math
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from experiments.reporting.command import FigureReport, main
from experiments.reporting.runs import RESAMPLES, SEED, finished_variants, score_seed
from experiments.reporting.study_report import Part, StudyReport, Variant
from rsna_det.config.options import FigureOptions
from rsna_det.errors import ConfigError
from rsna_det.evaluation.statistics.bootstrap import ImageContributions, bootstrap_mean

STUDY = StudyReport(
    study="ensemble",
    title="The ensemble (table 4)",
    option="name",
    baseline="heavy_aug_customrot",
    paper={},
)
"""Table 4's study has one variant, so that there is nothing in it to compare: this module reports on it."""

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
    "mean": "ensemble, sizes averaged",
    "percentile": "ensemble, 20th percentile of the sizes, reduced by the spread",
    "re-scaled": "ensemble, boxes re-scaled to {factor:.1%}",
}
_NEEDED = ("method", "map", "map_low", "map_high", "more_than_mean", "more_low", "more_high")


def challenge_parts(options: FigureOptions, folder: Path) -> list[Part]:  # noqa: ARG001
    """Table 4 with our rows.

    Raises:
        ConfigError: if the study is not finished (the message lists its cells) or there is no evaluation; with the
            commands that make what is missing.
        ValueError: if a file of the evaluation is damaged.
    """
    variants = _finished(options)
    source = _evaluation(options)
    numbers = _read_numbers(source / "report.json")
    rules = _read_rules(source / "size_rules.csv")
    rows: list[dict[str, Any]] = [
        {"what": name, "mAP": value, "images": "private test"} for name, value in PAPER.items()
    ]
    factor = numbers["operating_point"]["rescale_factor"]
    rows += [_rule_row(rule, factor=factor, images=numbers["images"]) for rule in rules.to_dict("records")]
    rows += [_out_of_fold(variant) for variant in variants]
    return [Part(name="challenge", title="Table 4", text=_text(source, numbers), table=pd.DataFrame(rows))]


def _rule_row(rule: Mapping[Hashable, Any], *, factor: float, images: int) -> dict[str, Any]:
    return {
        "what": _RULES.get(rule["method"], str(rule["method"])).format(factor=factor),
        "mAP": rule["map"],
        "mAP low": rule["map_low"],
        "mAP high": rule["map_high"],
        "more than averaged": rule["more_than_mean"],
        "more low": rule["more_low"],
        "more high": rule["more_high"],
        "images": f"{images} evaluated",
    }


def _commands(options: FigureOptions) -> str:
    return _COMMANDS.format(studies=options.paths.studies)


def _finished(options: FigureOptions) -> list[Variant]:
    try:
        return finished_variants(STUDY, [f"paths.studies='{options.paths.studies}'"])
    except ConfigError as error:
        raise ConfigError(f"{error}\nTable 4 is made by:\n{_commands(options)}") from error


def _evaluation(options: FigureOptions) -> Path:
    if options.evaluation is None:
        raise ConfigError(f"no evaluation is named; table 4 is made by:\n{_commands(options)}")
    source = options.evaluation
    missing = [name for name in ("report.json", "size_rules.csv") if not (source / name).is_file()]
    if missing:
        raise ConfigError(
            f"evaluation={source} has no {' and no '.join(missing)}: it is no finished evaluation of a prediction; "
            f"table 4 is made by:\n{_commands(options)}"
        )
    return source


def _read_numbers(path: Path) -> dict[str, Any]:
    try:
        numbers: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        float(numbers["operating_point"]["rescale_factor"]), int(numbers["images"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not the report of an evaluation ({error!r}): evaluate again") from error
    return numbers


def _read_rules(path: Path) -> pd.DataFrame:
    rules = pd.read_csv(path)
    lacking = [name for name in _NEEDED if name not in rules]
    if lacking or rules.empty:
        problem = f"has no column {', '.join(lacking)}" if lacking else "has no rows"
        raise ValueError(f"{path} {problem}: evaluate again")
    return rules


def _out_of_fold(variant: Variant) -> dict[str, Any]:
    """One checkpoint for each fold, epoch and cut chosen honestly, on the images that its fold held out."""
    seeds = [score_seed(folders) for folders in variant.seeds.values()]
    images = seeds[0].joined.images
    mean = ImageContributions.mean([seed.contributions for seed in seeds])
    own = bootstrap_mean(mean, true_patients=images["true_patient"].tolist(), resamples=RESAMPLES, seed=SEED)
    return {
        "what": f"{variant.name}, one checkpoint, out of fold",
        "mAP": own.estimate,
        "mAP low": own.low,
        "mAP high": own.high,
        "more than averaged": math.nan,
        "images": f"{len(images)} held out",
    }


def _text(source: Path, numbers: dict[str, Any]) -> str:
    saved = source / ".hydra" / "config.yaml"
    config: Any = yaml.safe_load(saved.read_text(encoding="utf-8")) if saved.is_file() else {}
    asked = f"{config.get('predictions', 'a prediction')} against {config.get('labels', 'labels')}"
    return (
        f"Our ensemble is that of {source}: {asked}, {numbers['images']} images. The leaders' numbers are of the "
        "challenge's private test set, labelled by the agreement of several readers; hold them against ours only if "
        "ours are of the same images and labels. Intervals are 95% bootstraps over true patients; differences to the "
        "averaged sizes are paired over the same images.\n\nThe last row is of single checkpoints of the study's folds "
        "on the images that each fold held out, labelled by one reader, epoch and cut chosen honestly: other images "
        "and other labels, so that its distance to the ensemble is not what the ensemble is worth. On images that "
        "members have learnt from an ensemble looks better than it is; the evaluation's own report says whether it did."
    )


FIGURE = FigureReport(
    name="challenge",
    title="The challenge (table 4)",
    takes=("evaluation",),
    parts=challenge_parts,
)

if __name__ == "__main__":
    main(FIGURE)
