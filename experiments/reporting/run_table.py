"""What a study's runs are and in what they differ: from the descriptions and provenance that lie in their folders."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from experiments.reporting.study_report import StudyReport, Variant
from rsna_det.dashboard import FILE as PROVENANCE
from rsna_det.errors import ConfigError
from rsna_det.files.json_files import read_object
from rsna_det.runs.resume import read_result
from rsna_det.studies.worker import DESCRIPTION

_REMEDY = "take the file from a copy of the cell, or remove the cell's folder and train it anew"
# Every variant has them in all their values.
_FOLD_AND_SEEDS = ("data.fold", "seed", "data.seed", "callbacks.epoch_seed.seed")
# Packages whose version can change a number.
_NUMERICAL = ("torch", "torchvision", "timm", "albumentations", "numpy", "opencv-python-headless", "pydicom", "scipy")


def run_table(report: StudyReport, variants: Sequence[Variant]) -> pd.DataFrame:
    """One row a run.

    Returns:
        ``variant``, ``fold``, ``seed``, ``run`` (its folder's name), ``best_map`` (over epochs and cuts, chosen on the
        images that it is measured on), ``epochs``, ``minutes`` in all starts together, ``starts``, ``device``,
        ``host``, ``commit`` (with a ``+`` if the checkout was changed) and ``started``.

    Raises:
        ConfigError: if a run's description or provenance is missing or damaged.
        ValueError: likewise of its result.
    """
    rows = []
    for variant, folder in _folders(variants):
        options, provenance, result = _options(folder), _provenance(folder), read_result(folder) or {}
        last = provenance["starts"][-1]
        rows.append(
            {
                "variant": report.label(variant.name),
                "fold": options["data.fold"],
                "seed": options["seed"],
                "run": folder.name,
                "best_map": result.get("best_val_map"),
                "epochs": result.get("epochs"),
                "minutes": round(sum(start.get("seconds", 0.0) for start in provenance["starts"]) / 60, 1),
                "starts": len(provenance["starts"]),
                "device": last.get("device", {}).get("name", "unknown"),
                "host": last["host"],
                "commit": _commit(last["git"]),
                "started": provenance["starts"][0]["started"],
            }
        )
    return pd.DataFrame(rows)


def differing_options(report: StudyReport, variants: Sequence[Variant]) -> pd.DataFrame:
    """In what the variants' configurations differ, besides folds and seeds.

    Returns:
        One row an option: ``option`` and a column a variant; several values of one variant are separated by commas.

    Raises:
        ConfigError: if a run's description is missing or damaged.
    """
    values: dict[str, dict[str, set[str]]] = {}
    for variant, folder in _folders(variants):
        for option, value in _options(folder).items():
            values.setdefault(option, {}).setdefault(variant.name, set()).add(str(value))
    rows = []
    for option, by_variant in values.items():
        said = [", ".join(sorted(by_variant.get(variant.name, {"absent"}))) for variant in variants]
        if option not in _FOLD_AND_SEEDS and len(set(said)) > 1:
            rows.append([option, *said])
    return pd.DataFrame(rows, columns=["option", *(report.label(variant.name) for variant in variants)])


def disagreements(variants: Sequence[Variant]) -> list[str]:
    """Reasons to doubt that the runs can be compared, each a sentence; empty if there is none.

    Raises:
        ConfigError: if a run's provenance is missing or damaged.
    """
    records = [(folder.name, _provenance(folder)) for _, folder in _folders(variants)]
    last = {name: record["starts"][-1] for name, record in records}
    found = []
    data = {json.dumps({k: v for k, v in (record["data"] or {}).items() if k != "root"}) for _, record in records}
    if len(data) > 1:
        found.append("The runs saw different data or folds: their fingerprints differ.")
    commits = sorted({_commit(start["git"]) for start in last.values()})
    if len(commits) > 1:
        found.append(f"The runs are of several versions of the code: {', '.join(commits)}.")
    changed = sorted(name for name, start in last.items() if _commit(start["git"]).endswith("+"))
    if changed:
        which = "every run" if len(changed) == len(last) else ", ".join(changed)
        found.append(f"The checkout was changed and not committed for {which}: no commit says what ran.")
    for package in _NUMERICAL:
        versions = sorted({start["packages"].get(package, "none") for start in last.values()})
        if len(versions) > 1:
            found.append(f"The runs used several versions of {package}: {', '.join(versions)}.")
    devices = sorted({start.get("device", {}).get("name", "unknown") for start in last.values()})
    if len(devices) > 1:
        found.append(f"The runs used several kinds of device: {', '.join(devices)}.")
    return found


def _folders(variants: Sequence[Variant]) -> Iterator[tuple[Variant, Path]]:
    for variant in variants:
        for folders in variant.seeds.values():
            for folder in folders:
                yield variant, folder


def _options(folder: Path) -> dict[str, Any]:
    path = folder / DESCRIPTION
    try:
        options = dict(yaml.safe_load(path.read_text(encoding="utf-8"))["options"])
        lacking = [name for name in _FOLD_AND_SEEDS if name not in options]
        problem = f"it lacks {', '.join(lacking)}" if lacking else ""
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        problem = " ".join(str(error).split())
    if problem:
        raise ConfigError(f"{path} does not describe a cell ({problem}): {_REMEDY}")
    return options


def _provenance(folder: Path) -> dict[str, Any]:
    path = folder / PROVENANCE
    if not path.is_file():
        raise ConfigError(f"{path} is missing, though the run is finished: {_REMEDY}")
    found = read_object(path, needed=["starts", "data"], remedy=_REMEDY)
    if not found["starts"] or not {"host", "git", "packages", "started"} <= set(found["starts"][-1]):
        raise ConfigError(f"{path} is damaged (its starts are not whole): {_REMEDY}")
    return found


def _commit(git: dict[str, Any] | None) -> str:
    return "unknown" if git is None else f"{git['commit'][:10]}{'+' if git['dirty'] else ''}"
