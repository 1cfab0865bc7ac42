"""A prediction into a folder, chunk by chunk: an interrupted one resumes after its finished chunks.

While the network works on one chunk, the files of the next are decoded and the pictures of the one before are drawn.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Float
from rich.progress import Progress

from rsna_det.data.cache.decoding_pool import outcome, worker_pool
from rsna_det.evaluation.operating_point import OperatingPoint
from rsna_det.evaluation.tables import candidates_table, images_table
from rsna_det.predict.chunks import Chunk, predicted_chunks
from rsna_det.predict.finishing import candidates_name, detections_of, finish
from rsna_det.predict.folder import IMAGES, MEAN, PERCENTILE, PICTURES, Fingerprint, Part, open_folder, write_part
from rsna_det.predict.members import Member
from rsna_det.predict.pictures import PictureTask, draw, is_drawn
from rsna_det.predict.pipeline import Pipeline, Predicted
from rsna_det.predict.plan import DRAWING, GIB, Plan, Settings, Timings, plan_chunks
from rsna_det.structures import Detections

log = logging.getLogger(__name__)

_Drawing = dict[str, "Future[float | str]"]


@dataclass(kw_only=True)
class Result:
    """What a prediction achieved.

    Attributes:
        found: boxes of every image, source pixels.
        problems: what is wrong with each image that could not be read.
        undrawn: why an image that could be read has no picture.
        reused: images that an interrupted start had finished.
        timings: of this start.
    """

    found: dict[str, Detections] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    undrawn: dict[str, str] = field(default_factory=dict)
    reused: int = 0
    timings: Timings = field(default_factory=Timings)


def predict_into(
    out: Path,
    *,
    files: Mapping[str, Path],
    members: Sequence[Member],
    point: OperatingPoint,
    settings: Settings,
    truths: Mapping[str, Float[np.ndarray, "_boxes 4"]] | None = None,
    member_rows: Sequence[Mapping[str, object]] | None = None,
    overwrite: bool = False,
) -> Result:
    """Predict the boxes of radiographs and write everything into a folder.

    A file that cannot be read, or a picture that cannot be drawn, is recorded and stops nothing.

    Args:
        out: the folder.
        files: image id -> DICOM file.
        members: of the ensemble, one or more.
        point: how detections are made of candidates.
        settings: how the work is done.
        truths: true boxes of images, to be drawn, source pixels.
        member_rows: rows of ``members.csv``; None for the paths alone.
        overwrite: whether another prediction in the folder is removed.

    Raises:
        InUseError: if the folder holds another prediction.
        DataError: if a checkpoint or a finished part is damaged.
        ResourceError: if memory is too small for the batch or the workers.
        StorageError: if something cannot be written.
    """
    wanted = Fingerprint.of(
        checkpoints=[member.path for member in members], files=files, point=point, limits=settings.limits
    )
    parts = open_folder(out, wanted=wanted, overwrite=overwrite)
    work = _Work(members=members, point=point, out=out, settings=settings, files=files, truths=truths or {})
    parts = work.complete(parts)
    result = work.result
    rows = member_rows or [{"path": str(member.path)} for member in members]
    result.found = finish(out, parts=parts, files=files, point=point, members=rows, undrawn=result.undrawn)
    result.problems = {image_id: problem for part in parts for image_id, problem in part.problems.items()}
    return result


class _Work:
    """One start of a prediction."""

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
        wanted = len(files) if settings.pictures is None else settings.pictures
        self._drawn = set(list(files)[:wanted])

    def complete(self, finished: Sequence[Part]) -> list[Part]:
        """The parts of all images: the finished ones, then those of the remaining images."""
        done = {image_id for part in finished for image_id in (*part.sizes, *part.problems)}
        left = {image_id: path for image_id, path in self.files.items() if image_id not in done}
        plan = plan_chunks(images=len(left), members=self.members, settings=self.settings) if left else None
        self.result.reused = len(done)
        self._announce(plan, len(left))
        parts = list(finished)
        with worker_pool(workers=self.settings.workers, images=len(left)) as pool, Progress(transient=True) as bar:
            task = bar.add_task("predicting", total=len(left) * len(self.members))
            drawing = {i: future for part in parts for i, future in self._submit_pictures(pool, part).items()}
            for chunk in self._chunks(left, plan, pool, lambda images: bar.advance(task, images)) if plan else ():
                parts.append(self._write(chunk, number=1 + max((part.number for part in parts), default=-1)))
                self._await_pictures(drawing)
                drawing = self._submit_pictures(pool, parts[-1])
            self._await_pictures(drawing)
        return parts

    def _announce(self, plan: Plan | None, left: int) -> None:
        if self.result.reused:
            log.info("resuming: %d of %d images are already predicted", self.result.reused, len(self.files))
        if plan is None:
            return
        log.info(
            "%d images in %d chunks of up to %d, %d members, on %s; at most %.2f GiB for outputs and pixels",
            *(left, plan.chunks, plan.images_in_chunk, len(self.members)),
            *(self.settings.device, plan.peak_bytes / GIB),
        )
        if plan.peak_bytes > self.settings.memory_gb * GIB:
            log.warning(
                "one image with these members needs more than memory_gb=%g: raise it, or use fewer members",
                self.settings.memory_gb,
            )

    def _chunks(
        self, files: Mapping[str, Path], plan: Plan, pool: Executor, on_batch: Callable[[int], None]
    ) -> Iterator[Chunk]:
        pipeline = Pipeline(
            members=self.members,
            point=self.point,
            device=self.settings.device,
            keep_networks=False,
            every_size_rule=True,
            timings=self.result.timings,
        )
        return predicted_chunks(
            files.items(),
            pipeline=pipeline,
            pool=pool,
            images_in_chunk=plan.images_in_chunk,
            batch_size=self.settings.batch_size,
            limits=self.settings.limits,
            on_batch=on_batch,
        )

    def _write(self, chunk: Chunk, *, number: int) -> Part:
        tables = _tables(chunk.predicted)
        return write_part(self.out, number=number, tables=tables, sizes=chunk.sizes, problems=chunk.problems)

    def _submit_pictures(self, pool: Executor, part: Part) -> _Drawing:
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
            limits=self.settings.limits,
        )

    def _await_pictures(self, drawing: _Drawing) -> None:
        for image_id, future in drawing.items():
            drawn = outcome(self.files[image_id], future)
            if isinstance(drawn, str):
                self.result.undrawn[image_id] = drawn
            else:
                self.result.timings.add(DRAWING, drawn)


def _tables(predicted: Sequence[Predicted]) -> dict[str, pa.Table]:
    """The tables of a chunk; none if no image could be read."""
    tables: dict[str, list[pa.Table]] = {}
    for batch in predicted:
        for name, found in ((MEAN, batch.mean), (PERCENTILE, batch.percentile)):
            if found is not None:
                tables.setdefault(name, []).append(candidates_table(image_ids=batch.ids, batch=found))
        rows = images_table(image_ids=batch.ids, batch=batch.mean, probabilities=batch.probabilities)
        tables.setdefault(IMAGES, []).append(rows)
    return {name: pa.concat_tables(parts).unify_dictionaries() for name, parts in tables.items()}
