"""Every record that this package writes and reads back: how it is made, and how it is read."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
import yaml

from rsna_det.boxes.decoding import DecodingSettings
from rsna_det.evaluate.predictions import _read_csv
from rsna_det.evaluation.operating_point import OperatingPoint, read_operating_point, write_operating_point
from rsna_det.evaluation.tables import RunTables, candidates_table, images_table, truth_table
from rsna_det.files.tables import write_csv_rows
from rsna_det.predict.folder import Fingerprint, _PartRecord
from rsna_det.predict.members import read_member
from rsna_det.runs.agreement import common_settings
from rsna_det.runs.folder import RunFolder
from rsna_det.runs.records import ProvenanceRecord, Result, Start, read_record, write_record
from rsna_det.runs.resume import saved_run
from rsna_det.structures import Candidates
from rsna_det.studies.plan import StudyRun
from rsna_det.studies.records import Launch, PlannedRun, RunDescription, read_description, write_description
from rsna_det.training.checkpoint_io import AtomicCheckpointIO
from rsna_det.training.epoch_table import EpochTable
from tests.checkpoints import module_of
from tests.short_runs import options_of


@dataclass(frozen=True, kw_only=True)
class Reader:
    """A record.

    Attributes:
        file: its name in a folder.
        format: ``json``, ``yaml``, ``csv`` or ``bytes``.
        write: makes it.
        read: reads it as the package does.
    """

    file: str
    format: str
    write: Callable[[Path], object]
    read: Callable[[Path], object]


ID = "43f86b6253"
_START = {
    "started": "2026-01-01T00:00:00+00:00",
    "outcome": "finished",
    "host": "here",
    "pid": 7,
    "system": "Linux",
    "python": "3.11",
    "command": ["train"],
    "environment": {},
    "git": {"commit": "a" * 40, "dirty": False},
    "packages": {"torch": "2"},
    "device": {"type": "cpu", "count": 1, "name": "x"},
    "first_epoch": 0,
    "epoch_seconds": [1.5, 2.0],
    "ended": "2026-01-01T00:01:00+00:00",
    "seconds": 60.0,
}
_POINT = OperatingPoint(image_size=64, score_floor=0.01, max_candidates=30, nms_iou=0.1, relative_cut=0.5, cut=0.2)


def _result(path: Path) -> None:
    write_record(path, Result(epochs=2, seconds=10.5, best_val_map=0.2, metrics={"val/map": 0.1, "val/loss": 1.0}))


def _provenance(path: Path) -> None:
    start = Start.model_validate(_START)
    write_record(path, ProvenanceRecord(seed=0, configuration="config.yaml", data={"images": 3}, starts=[start]))


def _launch(path: Path) -> None:
    runs = [PlannedRun(id=ID, overrides=["sweep=negatives", "data.fold=0"], epochs=3)]
    write_record(path, Launch(started="2026-01-01", host="here", pid=3, overrides=["sweep=negatives"], runs=runs))


def _read_launch(path: Path) -> object:
    launch = read_record(path, Launch, remedy="start the study again")
    runs = [
        StudyRun(id=run.id, folder=RunFolder(path.parent / run.id), overrides=tuple(run.overrides), epochs=run.epochs)
        for run in launch.runs
    ]
    # An id names a folder beside the record, and never another.
    assert all(run.folder.path.parent == path.parent and run.folder.path.name == run.id for run in runs)
    return [run.state for run in runs]


def _description(path: Path) -> None:
    write_description(path, RunDescription(study="negatives", id=ID, overrides=["a=1"], options={"seed": 0}))


def _fingerprint(path: Path) -> None:
    write_record(path, Fingerprint.of(checkpoints=[path], files={"a": path}, point=_POINT))


def _part(path: Path) -> None:
    path.write_text(json.dumps({"sizes": {"a": [64, 48], "b": [32, 32]}, "problems": {"c": "cannot be read"}}))


def _files(path: Path) -> None:
    header = ["image_id", "path", "width", "height", "boxes"]
    write_csv_rows(path, header, [["a", "x/a.dcm", 64, 48, 1], ["=b", "x/=b.dcm", "", "", 0]])


def _members(path: Path) -> None:
    write_csv_rows(path, ["path", "name", "fold", "epoch", "images_trained_on"], [["a.ckpt", "heavy", 0, 3, 0]])


def _metrics(path: Path) -> None:
    table = EpochTable(path=str(path))
    for epoch in (0, 1):
        table.log_metrics({"epoch": epoch, "val/map": 0.5, "train/loss": 1.25}, step=epoch)


def _candidates() -> Candidates:
    boxes = torch.tensor([[[1.0, 2.0, 10.0, 12.0], [3.0, 3.0, 9.0, 9.0]]] * 2)
    scores, mask = torch.tensor([[0.9, 0.5]] * 2), torch.ones(2, 2, dtype=torch.bool)
    return Candidates(boxes=boxes, scores=scores, mask=mask, counts_before_cap=torch.tensor([2, 2]))


def _truth(path: Path) -> None:
    images = pd.DataFrame({"image_id": ["a", "b"], "true_patient": "p", "fold": [0, 1], "category": [2, 0]})
    boxes = [torch.tensor([[1.0, 2.0, 3.0, 4.0]]).numpy(), torch.zeros(0, 4).numpy()]
    images = images.assign(width=64, height=64, boxes=boxes)
    RunTables(path.parent).write_truth(truth_table(images, val_fold=0))


def _epoch(path: Path) -> None:
    ids, batch = ["a", "b"], _candidates()
    images = images_table(image_ids=ids, batch=batch, probabilities=torch.full((2, 3), 1 / 3))
    RunTables(path.parent).write_epoch(0, candidates=candidates_table(image_ids=ids, batch=batch), images=images)


def _config(path: Path) -> None:
    options_of(Path("data"), path.parent.parent)


def _resumed(path: Path) -> object:
    folder = RunFolder(path.parent.parent)
    folder.checkpoints.mkdir(exist_ok=True)
    folder.last_checkpoint.touch()
    return saved_run([f"resume={folder}"])


def _checkpoint(path: Path) -> None:
    module = module_of()
    content = {"epoch": 1, "state_dict": module.state_dict(), "rsna_det": module.description}
    AtomicCheckpointIO().save_checkpoint(content, path)


def _tables(path: Path) -> RunTables:
    return RunTables(path.parent)


READERS: dict[str, Reader] = {
    "result": Reader(
        file="result.json", format="json", write=_result, read=lambda path: RunFolder(path.parent).result()
    ),
    "provenance": Reader(
        file="provenance.json", format="json", write=_provenance, read=lambda path: RunFolder(path.parent).provenance()
    ),
    "launch": Reader(file="launches.json", format="json", write=_launch, read=_read_launch),
    "fingerprint": Reader(
        file="fingerprint.json",
        format="json",
        write=_fingerprint,
        read=lambda path: read_record(path, Fingerprint, remedy="start anew").differences(
            Fingerprint.of(checkpoints=[], files={}, point=_POINT)
        ),
    ),
    "part": Reader(
        file="000001.part.json",
        format="json",
        write=_part,
        read=lambda path: [
            (height, width) for height, width in read_record(path, _PartRecord, remedy="start anew").sizes.values()
        ],
    ),
    "description": Reader(file="cell.yaml", format="yaml", write=_description, read=read_description),
    "operating point": Reader(
        file="operating_point.yaml",
        format="yaml",
        write=lambda path: write_operating_point(_POINT, path, evidence={"images": 3}),
        read=read_operating_point,
    ),
    "configuration, resumed": Reader(file=".hydra/config.yaml", format="yaml", write=_config, read=_resumed),
    "configuration, evaluated": Reader(
        file=".hydra/config.yaml",
        format="yaml",
        write=_config,
        read=lambda path: common_settings([RunFolder(path.parent.parent)] * 2),
    ),
    "files": Reader(
        file="files.csv",
        format="csv",
        write=_files,
        read=lambda path: _read_csv(path, text=["image_id"], numbers=["width", "height"]).set_index("image_id"),
    ),
    "members": Reader(
        file="members.csv",
        format="csv",
        write=_members,
        read=lambda path: _read_csv(path, numbers=["images_trained_on"]),
    ),
    "metrics": Reader(
        file="metrics.csv",
        format="csv",
        write=_metrics,
        read=lambda path: RunFolder(path.parent).metrics(needed=["val/map"]).astype({"epoch": int}),
    ),
    "metrics, resumed": Reader(
        file="metrics.csv", format="csv", write=_metrics, read=lambda path: EpochTable(path=str(path), first_epoch=1)
    ),
    "truth": Reader(file="truth.parquet", format="bytes", write=_truth, read=lambda path: _tables(path).truth()),
    "candidates": Reader(
        file="epoch_00.candidates.parquet", format="bytes", write=_epoch, read=lambda path: _tables(path).candidates(0)
    ),
    "images": Reader(
        file="epoch_00.images.parquet", format="bytes", write=_epoch, read=lambda path: _tables(path).images(0)
    ),
    "checkpoint": Reader(file="last.ckpt", format="bytes", write=_checkpoint, read=read_member),
}
"""By name."""


def parsed(reader: Reader, content: bytes) -> object:
    """The values of a record that is text."""
    return json.loads(content) if reader.format == "json" else yaml.safe_load(content)


__all__ = ["READERS", "DecodingSettings", "Reader", "parsed"]
