"""A study's runs: when and where each ran, in which options they differ, and whether they are comparable."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from experiments.reporting.study_report import StudyReport, Variant
from rsna_det.config.roles import Role, role_of
from rsna_det.errors import MissingFileError
from rsna_det.runs.folder import RunFolder
from rsna_det.runs.records import GitState, ProvenanceRecord, Start
from rsna_det.studies.records import read_description

# Packages whose version can change a number.
_NUMERICAL = ("torch", "torchvision", "timm", "albumentations", "numpy", "opencv-python-headless", "pydicom", "scipy")


def run_table(report: StudyReport, variants: Sequence[Variant]) -> pd.DataFrame:
    """One row per run.

    Returns:
        ``variant``, ``fold``, ``seed``, ``run`` (its folder's name), ``best_map`` (over epochs and score thresholds,
        chosen and measured on the same images), ``epochs``, ``minutes`` (all starts together), ``starts``,
        ``device``, ``host``, ``commit`` (with a ``+`` if the checkout had uncommitted changes) and ``started``.

    Raises:
        RsnaDetError: if a run's description, provenance or result is missing or damaged.
    """
    rows = []
    for variant, folder in _folders(variants):
        options, provenance, result = _options(folder), _provenance(folder), folder.result()
        last = provenance.starts[-1]
        rows.append(
            {
                "variant": report.label(variant.name),
                "fold": options["data.fold"],
                "seed": options["seed"],
                "run": folder.path.name,
                "best_map": result.best_val_map if result else None,
                "epochs": result.epochs if result else None,
                "minutes": sum(start.seconds or 0.0 for start in provenance.starts) / 60,
                "starts": len(provenance.starts),
                "device": _device(last),
                "host": last.host,
                "commit": _commit(last.git),
                "started": provenance.starts[0].started,
            }
        )
    return pd.DataFrame(rows)


def options_by_variant(report: StudyReport, variants: Sequence[Variant]) -> pd.DataFrame:
    """The options in which the variants differ, besides folds and seeds.

    Returns:
        One row per option: ``option``, and a column for each variant's values, separated by commas.

    Raises:
        RsnaDetError: if a run's description is missing or damaged.
    """
    values: dict[str, dict[str, set[str]]] = {}
    for variant, folder in _folders(variants):
        for option, value in _options(folder).items():
            values.setdefault(option, {}).setdefault(variant.name, set()).add(str(value))
    rows = []
    for option, by_variant in values.items():
        said = [", ".join(sorted(by_variant.get(variant.name, {"not set"}))) for variant in variants]
        if role_of(option) is not Role.REPEAT and len(set(said)) > 1:
            rows.append([option, *said])
    return pd.DataFrame(rows, columns=["option", *(report.label(variant.name) for variant in variants)])


def comparability_caveats(variants: Sequence[Variant]) -> list[str]:
    """Why the runs may not be comparable, in sentences; empty if nothing speaks against it.

    Raises:
        RsnaDetError: if a run's provenance is missing or damaged.
    """
    records = {folder.path.name: _provenance(folder) for _, folder in _folders(variants)}
    last = {name: record.starts[-1] for name, record in records.items()}
    found = []
    fingerprints = {
        json.dumps({k: v for k, v in (record.data or {}).items() if k != "root"}) for record in records.values()
    }
    if len(fingerprints) > 1:
        found.append("The runs used different data or folds: their fingerprints differ.")
    commits = sorted({_commit(start.git) for start in last.values()})
    if len(commits) > 1:
        found.append(f"The runs used several versions of the code: {', '.join(commits)}.")
    changed = sorted(name for name, start in last.items() if start.git and start.git.dirty)
    if changed:
        which = "of every run" if len(changed) == len(last) else f"of {', '.join(changed)}"
        found.append(f"The checkout {which} had uncommitted changes: no commit identifies the code.")
    for package in _NUMERICAL:
        versions = sorted({start.packages.get(package, "none") for start in last.values()})
        if len(versions) > 1:
            found.append(f"The runs used several versions of {package}: {', '.join(versions)}.")
    devices = sorted({_device(start) for start in last.values()})
    if len(devices) > 1:
        found.append(f"The runs used several kinds of devices: {', '.join(devices)}.")
    return found


def _folders(variants: Sequence[Variant]) -> Iterator[tuple[Variant, RunFolder]]:
    for variant in variants:
        for folders in variant.seeds.values():
            for folder in folders:
                yield variant, folder


def _options(folder: RunFolder) -> dict[str, Any]:
    return read_description(folder.description).options


def _provenance(folder: RunFolder) -> ProvenanceRecord:
    provenance = folder.provenance()
    if provenance is None or not provenance.starts:
        raise MissingFileError(
            f"{folder.provenance_file} is missing or empty, though the run is finished: restore it from a copy "
            "of the run, or remove the run's folder and train it again"
        )
    return provenance


def _device(start: Start) -> str:
    return str((start.device or {}).get("name", "unknown"))


def _commit(git: GitState | None) -> str:
    return "unknown" if git is None else f"{git.commit[:10]}{'+' if git.dirty else ''}"
