"""What a study's runs are and in what they differ: from the descriptions and provenance that lie in their folders."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from experiments.reporting.study_report import StudyReport, Variant
from rsna_det.cell_folder import DESCRIPTION
from rsna_det.config import ConfigError
from rsna_det.provenance import FILE as PROVENANCE

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
        ConfigError: if a run's provenance or result is missing or damaged.
    """
    rows = []
    for variant, folder in _folders(variants):
        options, provenance, result = _options(folder), _json(folder / PROVENANCE), _json(folder / "result.json")
        last = provenance["starts"][-1]
        rows.append(
            {
                "variant": report.label(variant.name),
                "fold": options["data.fold"],
                "seed": options["seed"],
                "run": folder.name,
                "best_map": result["best_val_map"],
                "epochs": result["epochs"],
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
    records = [(folder.name, _json(folder / PROVENANCE)) for _, folder in _folders(variants)]
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
        found = yaml.safe_load(path.read_text(encoding="utf-8"))["options"]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} does not describe a cell ({error}): train the cell anew") from error
    return dict(found)


def _json(path: Path) -> Any:  # noqa: ANN401
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read ({error}): train the cell anew") from error


def _commit(git: dict[str, Any] | None) -> str:
    return "unknown" if git is None else f"{git['commit'][:10]}{'+' if git['dirty'] else ''}"
