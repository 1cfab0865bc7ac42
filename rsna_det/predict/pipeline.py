"""Radiographs and members -> boxes: chunk by chunk, each member loaded once a chunk, never two at a time.

While the network works on one chunk, the files of the next are decoded and the pictures of the one before are drawn.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float, Int, UInt8
from rich.progress import Progress, TaskID
from torch import Tensor, nn

from rsna_det.boxes.anchors import pyramid_anchors
from rsna_det.boxes.decoding import candidates
from rsna_det.data.cache.decoding_pool import Square, read_square, worker_pool
from rsna_det.evaluation.operating_point import OperatingPoint
from rsna_det.evaluation.tables import candidates_table, images_table
from rsna_det.models.ensemble import combine, with_percentile_sizes
from rsna_det.predict.folder import (
    IMAGES,
    MEAN,
    PERCENTILE,
    PICTURES,
    Part,
    candidates_name,
    detections_of,
    fingerprint,
    finish,
    open_folder,
    write_part,
)
from rsna_det.predict.members import Member, load_model
from rsna_det.predict.pictures import PictureTask, draw, is_drawn
from rsna_det.predict.plan import BOXES, DECODING, DRAWING, GIB, LOADING, NETWORK, Plan, Result, Settings, plan_chunks
from rsna_det.structures import Candidates, Detections, HeadOutputs

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Images:
    """Images of one batch."""

    ids: tuple[str, ...]
    sizes: Int[Tensor, "batch 2"]
    pixels: UInt8[Tensor, "batch 1 side side"]


def predict(
    *,
    files: Mapping[str, Path],
    members: Sequence[Member],
    point: OperatingPoint,
    out: Path,
    settings: Settings,
    truths: Mapping[str, Float[np.ndarray, "_boxes 4"]] | None = None,
    member_rows: Sequence[Mapping[str, object]] | None = None,
    overwrite: bool = False,
) -> Result:
    """Predict the boxes of radiographs and write everything into a folder.

    A file that cannot be read is noted and stops nothing, nor does a picture that cannot be drawn. A run that was
    killed goes on with its finished chunks.

    Args:
        files: image id -> DICOM file.
        members: of the ensemble, one or more.
        point: how detections are made of candidates.
        out: the folder.
        settings: how the work is done.
        truths: true boxes of images in source pixels, where they are known, to be drawn.
        member_rows: what ``members.csv`` says of each member; None for the paths alone.
        overwrite: whether another prediction in the folder is removed.

    Raises:
        FileExistsError: if another prediction lies in the folder.
        OSError: if something cannot be written or a checkpoint not be read.
        ValueError: if members' outputs cannot be combined.
    """
    wanted = fingerprint(checkpoints=[member.path for member in members], files=files, point=point)
    parts = open_folder(out, wanted=wanted, overwrite=overwrite)
    run = _Run(members=members, point=point, out=out, settings=settings, files=files, truths=truths or {})
    parts = run.complete(parts)
    rows = member_rows or [{"path": str(member.path)} for member in members]
    undrawn = run.result.undrawn
    run.result.found = finish(out, parts=parts, files=files, point=point, members=rows, undrawn=undrawn)
    run.result.problems = {image_id: problem for part in parts for image_id, problem in part.problems.items()}
    return run.result


class _Run:
    """One pass over all chunks."""

    def __init__(
        self,
        *,
        members: Sequence[Member],
        point: OperatingPoint,
        out: Path,
        settings: Settings,
        files: Mapping[str, Path],
        truths: Mapping[str, np.ndarray],
    ) -> None:
        self.members, self.point, self.out, self.settings = members, point, out, settings
        self.files, self.truths = files, truths
        self.result = Result()
        self._loaded: tuple[int, nn.Module] | None = None
        wanted = len(files) if settings.pictures is None else settings.pictures
        self._drawn = set(list(files)[:wanted])

    def complete(self, parts: Sequence[Part]) -> list[Part]:
        """The parts of all images: those that are there, and those of the images that are not in them."""
        done = {image_id for part in parts for image_id in (*part.sizes, *part.problems)}
        left = [image_id for image_id in self.files if image_id not in done]
        plan = plan_chunks(images=len(left), members=self.members, settings=self.settings) if left else None
        self.result.reused = len(done)
        self._announce(plan, left)
        size = plan.images_in_chunk if plan else 1
        chunks = [left[start : start + size] for start in range(0, len(left), size)]
        complete = list(parts)
        with worker_pool(workers=self.settings.workers, images=len(left)) as pool, Progress(transient=True) as bar:
            task = bar.add_task("predicting", total=len(left) * len(self.members))
            drawing = {i: future for part in parts for i, future in self._submit_pictures(pool, part).items()}
            reading = self._submit_reads(pool, chunks[0] if chunks else [])
            for number, _ in enumerate(chunks):
                now, reading = reading, self._submit_reads(pool, *chunks[number + 1 : number + 2])
                part = self._predict_chunk(now, number=len(complete), bar=bar, task=task)
                complete.append(part)
                self._await_pictures(drawing)
                drawing = self._submit_pictures(pool, part)
            self._await_pictures(drawing)
        return complete

    def _announce(self, plan: Plan | None, left: Sequence[str]) -> None:
        if self.result.reused:
            log.info("%d of %d images were predicted before and are not again", self.result.reused, len(self.files))
        if plan:
            log.info(
                "images: %d, in chunks: %d of up to %d, members: %d, on %s; at most %.2f GiB for outputs and pixels",
                *(len(left), plan.chunks, plan.images_in_chunk, len(self.members)),
                *(self.settings.device, plan.peak_bytes / GIB),
            )
            if plan.peak_bytes > self.settings.memory_gb * GIB:
                log.warning("one image of so many members takes more than memory_gb=%g", self.settings.memory_gb)

    def _submit_reads(self, pool: Executor, image_ids: Sequence[str] = ()) -> dict[str, "Future[Square | str]"]:
        side = self.point.image_size
        return {image_id: pool.submit(read_square, self.files[image_id], side) for image_id in image_ids}

    def _predict_chunk(
        self, reading: Mapping[str, "Future[Square | str]"], *, number: int, bar: Progress, task: TaskID
    ) -> Part:
        problems: dict[str, str] = {}
        batches: list[_Images] = []
        outputs: dict[int, list[HeadOutputs]] = {}
        # Every second chunk the other way round: the member loaded last is the first of the next chunk.
        order = list(range(len(self.members)))[:: 1 if number % 2 == 0 else -1]
        for index in order:
            # The first member works while files are still being decoded, the others on what it has been given.
            source = self._batches(reading, batches, problems) if index == order[0] else batches
            model = self._model(index)
            outputs[index] = []
            for batch in source:
                outputs[index].append(self._outputs(model, batch.pixels))
                bar.advance(task, len(batch.ids))
        tables = self._decode(batches, [outputs[index] for index in range(len(self.members))])
        sizes = {i: (h, w) for batch in batches for i, (h, w) in zip(batch.ids, batch.sizes.tolist(), strict=True)}
        return write_part(self.out, number=number, tables=tables, sizes=sizes, problems=problems)

    def _batches(
        self, reading: Mapping[str, "Future[Square | str]"], batches: list[_Images], problems: dict[str, str]
    ) -> Iterator[_Images]:
        """Batches of what can be read, as soon as it is; noted in ``batches``, the rest in ``problems``."""
        waiting: dict[str, Square] = {}
        for image_id, future in reading.items():
            square = future.result()
            if isinstance(square, str):
                problems[image_id] = square
                continue
            self.result.count(DECODING, square.seconds)
            waiting[image_id] = square
            if len(waiting) == self.settings.batch_size:
                batches.append(_stacked(waiting))
                waiting = {}
                yield batches[-1]
        if waiting:
            batches.append(_stacked(waiting))
            yield batches[-1]

    def _model(self, index: int) -> nn.Module:
        """A member's network; the one before is let go first."""
        if self._loaded is None or self._loaded[0] != index:
            self._loaded = None
            started = time.perf_counter()
            self._loaded = (index, load_model(self.members[index]).to(self.settings.device))
            self.result.count(LOADING, time.perf_counter() - started)
        return self._loaded[1]

    @torch.inference_mode()
    def _outputs(self, model: nn.Module, pixels: UInt8[Tensor, "batch 1 side side"]) -> HeadOutputs:
        started = time.perf_counter()
        found: HeadOutputs = model(pixels.to(self.settings.device))
        kept = replace(
            found,
            box_logits=found.box_logits.cpu(),
            box_deltas=found.box_deltas.cpu(),
            global_logits=None if found.global_logits is None else found.global_logits.cpu(),
        )
        self.result.count(NETWORK, time.perf_counter() - started, len(pixels))
        return kept

    def _decode(self, batches: Sequence[_Images], outputs: Sequence[list[HeadOutputs]]) -> dict[str, pa.Table]:
        """The chunk's tables, from what each member says of each batch."""
        started = time.perf_counter()
        tables: dict[str, list[pa.Table]] = defaultdict(list)
        for batch, members in zip(batches, zip(*outputs, strict=True), strict=True):
            mean = combine(members)
            found = self._candidates(mean, batch)
            tables[MEAN].append(candidates_table(image_ids=batch.ids, batch=found))
            probabilities = None if mean.global_logits is None else mean.global_logits.softmax(dim=1)
            tables[IMAGES].append(images_table(image_ids=batch.ids, batch=found, probabilities=probabilities))
            if len(members) > 1:
                smaller = with_percentile_sizes(mean, members=members, size_scale=self.point.size_scale)
                boxes = self._candidates(smaller, batch)
                tables[PERCENTILE].append(candidates_table(image_ids=batch.ids, batch=boxes))
        self.result.count(BOXES, time.perf_counter() - started, sum(len(batch.ids) for batch in batches))
        return {name: pa.concat_tables(parts).unify_dictionaries() for name, parts in tables.items()}

    def _candidates(self, outputs: HeadOutputs, batch: _Images) -> Candidates:
        anchors = pyramid_anchors(
            image_size=self.point.image_size, feature_sizes=outputs.feature_sizes, levels=self.members[0].levels
        )
        return candidates(
            outputs=outputs,
            anchors=anchors,
            image_size=self.point.image_size,
            source_sizes=batch.sizes,
            score_floor=self.point.score_floor,
            max_candidates=self.point.max_candidates,
        )

    def _submit_pictures(self, pool: Executor, part: Part) -> "dict[str, Future[float | str]]":
        folder = self.out / PICTURES
        wanted = [i for i in part.sizes if i in self._drawn and not is_drawn(folder / f"{i}.png")]
        if not wanted:
            return {}
        folder.mkdir(exist_ok=True)
        name = candidates_name(self.point, members=len(self.members))
        found = detections_of(part.read(name), wanted, self.point)
        opacity = part.read(IMAGES).set_index("image_id")["p_opacity"]
        return {i: pool.submit(draw, self._picture(i, found[i], float(opacity[i]))) for i in wanted}

    def _picture(self, image_id: str, found: Detections, p_opacity: float) -> PictureTask:
        return PictureTask(
            image_id=image_id,
            source=self.files[image_id],
            target=self.out / PICTURES / f"{image_id}.png",
            boxes=found.boxes.numpy(),
            scores=found.scores.numpy(),
            truths=self.truths.get(image_id),
            cut=self.point.cut,
            p_opacity=None if np.isnan(p_opacity) else p_opacity,
        )

    def _await_pictures(self, drawing: "Mapping[str, Future[float | str]]") -> None:
        for image_id, future in drawing.items():
            drawn = future.result()
            if isinstance(drawn, str):
                self.result.undrawn[image_id] = drawn
            else:
                self.result.count(DRAWING, drawn)


def _stacked(squares: Mapping[str, Square]) -> _Images:
    return _Images(
        ids=tuple(squares),
        sizes=torch.tensor([[square.height, square.width] for square in squares.values()]),
        pixels=torch.from_numpy(np.stack([square.pixels for square in squares.values()]))[:, None],
    )
