"""The grid of epochs, NMS IoUs and cuts from tables on disk, against a plain loop over images and grid points."""

import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pandas as pd
import torch

from benchmarks.measure import peak_of_this_process
from rsna_det.boxes.decoding import detections
from rsna_det.evaluation.grid import score_grid
from rsna_det.evaluation.metric import challenge_map
from rsna_det.evaluation.out_of_fold import OutOfFold, open_runs
from rsna_det.evaluation.tables import (
    RunTables,
    candidates_table,
    images_table,
    truth_table,
)
from rsna_det.structures import Candidates

IMAGES, EPOCHS, CANDIDATES = 6400, 20, 300
CUTS = [round(0.03 + 0.03 * i, 2) for i in range(16)]
NMS_IOUS = [0.05, 0.1, 0.2, 0.3, 0.5]
RELATIVE_CUT = 0.5
_SAMPLE = 100


def measurements() -> tuple[float, float, float]:
    """Seconds of the whole grid, peak MiB of its process, and how much faster than a plain loop a grid point is."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder)
        _write_run(run)
        with ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn")) as pool:
            seconds, peak = pool.submit(_whole_grid, run).result()
        plain = _plain_seconds_per_cell(open_runs([RunTables(run)]))
    return seconds, peak, plain / (seconds / (IMAGES * EPOCHS * len(CUTS) * len(NMS_IOUS)))


def _whole_grid(run: Path) -> tuple[float, float]:
    torch.set_num_threads(1)
    started = time.perf_counter()
    joined = open_runs([RunTables(run)])
    score_grid(
        epochs=((epoch, joined.candidates(epoch)) for epoch in joined.epochs),
        truths=joined.truths,
        groups=torch.ones(41, IMAGES, dtype=torch.bool),
        cuts=CUTS,
        nms_ious=NMS_IOUS,
        relative_cut=RELATIVE_CUT,
        rescale_factor=1.0,
    )
    return time.perf_counter() - started, peak_of_this_process()


def _plain_seconds_per_cell(joined: OutOfFold) -> float:
    """One image and one grid point at a time, on the first images of the first epoch."""
    torch.set_num_threads(1)
    truths = joined.truths[:_SAMPLE]
    rows = list(joined.candidates(joined.epochs[0]))[:_SAMPLE]
    started = time.perf_counter()
    for nms_iou in NMS_IOUS:
        for cut in CUTS:
            for (boxes, scores), truth in zip(rows, truths, strict=True):
                found = detections(boxes=boxes, scores=scores, nms_iou=nms_iou, relative_cut=RELATIVE_CUT, cut=cut)
                challenge_map(detections=[found], truths=[truth])
    return (time.perf_counter() - started) / (_SAMPLE * len(NMS_IOUS) * len(CUTS))


def _write_run(run: Path) -> None:
    """A run whose candidates crowd around five places of an image, two of them true boxes in every fourth image."""
    generator = torch.Generator().manual_seed(0)
    ids = [f"image{i:05d}" for i in range(IMAGES)]
    places, found = _candidates(generator)
    boxes = [places[i, :2].numpy() if i % 4 == 0 else places[i, :0].numpy() for i in range(IMAGES)]
    truth = pd.DataFrame({"image_id": ids, "true_patient": ids, "fold": 0, "category": 1, "boxes": boxes})
    tables = RunTables(run)
    tables.write_truth(truth_table(truth.assign(width=1024, height=1024), val_fold=0))
    for epoch in range(EPOCHS):
        tables.write_epoch(
            epoch,
            candidates=candidates_table(image_ids=ids, batch=found),
            images=images_table(image_ids=ids, batch=found, probabilities=None),
        )


def _candidates(generator: torch.Generator) -> tuple[torch.Tensor, Candidates]:
    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator)

    crowd = CANDIDATES // 5
    centres, halves = 100 + 800 * uniform(IMAGES, 5, 2), 30 + 100 * uniform(IMAGES, 5, 2)
    places = torch.cat([centres - halves, centres + halves], dim=-1).clamp(0, 1024)
    around = places[:, :, None] + 15 * torch.randn(IMAGES, 5, crowd, 4, generator=generator)
    scores = (uniform(IMAGES, 5, 1) ** 2 * uniform(IMAGES, 5, crowd)).clamp(0.026).flatten(1)
    order = scores.argsort(dim=1, descending=True)
    boxes = around.flatten(1, 2).gather(1, order[..., None].expand(-1, -1, 4)).clamp(0, 1024)
    return places, Candidates(
        boxes=boxes,
        scores=scores.gather(1, order),
        mask=torch.ones(IMAGES, CANDIDATES, dtype=torch.bool),
        counts_before_cap=torch.full((IMAGES,), CANDIDATES),
    )
