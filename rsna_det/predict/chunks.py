"""A stream of files -> predictions, chunk by chunk; the files of the next chunk are decoded meanwhile.

Within a chunk each member predicts all images before the next member does, so that one network in memory is enough.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from rsna_det.data.cache.decoding_pool import Square, outcome, read_square
from rsna_det.data.dicom.limits import DEFAULT_LIMITS, Limits
from rsna_det.predict.pipeline import Images, Pipeline, Predicted, outputs_of
from rsna_det.predict.plan import DECODING, Timings
from rsna_det.structures import HeadOutputs


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Some files' predictions.

    Attributes:
        files: by id, in order.
        predicted: batches of the images that could be read, in the same order.
        problems: by id, what is wrong with each file that could not, or for which a member's outputs are not finite.
    """

    files: Mapping[str, Path]
    predicted: Sequence[Predicted]
    problems: Mapping[str, str]

    @property
    def sizes(self) -> dict[str, tuple[int, int]]:
        """Height and width of each image that could be read, source pixels."""
        rows = ((batch.ids, batch.sizes.tolist()) for batch in self.predicted)
        return {name: (height, width) for row in rows for name, (height, width) in zip(*row, strict=True)}


def predicted_chunks(
    files: Iterable[tuple[str, Path]],
    *,
    pipeline: Pipeline,
    pool: Executor,
    images_in_chunk: int,
    batch_size: int,
    limits: Limits = DEFAULT_LIMITS,
    on_batch: Callable[[int], object] = lambda _: None,
) -> Iterator[Chunk]:
    """Predict files in their order; at most two chunks are in memory.

    Args:
        files: ids, each once, and DICOM files; taken as they are needed.
        pipeline: of the ensemble.
        pool: decodes.
        images_in_chunk: files of a chunk.
        batch_size: images that the network sees at once.
        limits: on each file, and which doubts are accepted.
        on_batch: told the number of images whenever a member has predicted a batch.
    """
    side, timings = pipeline.point.image_size, pipeline.timings
    waiting = iter(files)

    def start_reading() -> _Reading | None:
        chunk = dict(islice(waiting, images_in_chunk))
        reads = {name: pool.submit(read_square, path, side, limits=limits) for name, path in chunk.items()}
        return _Reading(chunk, reads, batch_size=batch_size, timings=timings) if chunk else None

    now = start_reading()
    backwards = False
    while now is not None:
        following = start_reading()
        yield _predicted(now, pipeline, on_batch, backwards=backwards)
        now, backwards = following, not backwards


class _Reading:
    """The files of a chunk while they are decoded: batches of what can be read, and what is wrong with the rest."""

    def __init__(
        self,
        files: Mapping[str, Path],
        reads: Mapping[str, "Future[Square | str]"],
        *,
        batch_size: int,
        timings: Timings,
    ) -> None:
        self.files = files
        self.problems: dict[str, str] = {}
        self._reads = dict(reads)
        self._batch_size, self._timings = batch_size, timings
        self._batches: list[Images] = []

    def __iter__(self) -> Iterator[Images]:
        """The batches: the first time as files are decoded, then as often as there are more members."""
        yield from self._batches
        squares: dict[str, Square] = {}
        while self._reads:
            name = next(iter(self._reads))
            square = outcome(self.files[name], self._reads.pop(name))
            if isinstance(square, str):
                self.problems[name] = square
            else:
                self._timings.add(DECODING, square.seconds)
                squares[name] = square
            if squares and (len(squares) == self._batch_size or not self._reads):
                self._batches.append(Images.of(squares))
                squares = {}
                yield self._batches[-1]


def _predicted(images: _Reading, pipeline: Pipeline, on_batch: Callable[[int], object], *, backwards: bool) -> Chunk:
    count = len(pipeline.members)
    # Every second chunk in reverse: the member loaded last is the first of the next chunk.
    order = reversed(range(count)) if backwards else range(count)
    outputs = {index: _outputs(images, pipeline, index, on_batch) for index in order}
    predicted, problems = [], dict(images.problems)
    for number, batch in enumerate(images):
        of_members = [outputs[index][number] for index in range(count)]
        for index, found in enumerate(of_members):
            problems |= pipeline.not_finite(index, batch, found)
        rows = [row for row, name in enumerate(batch.ids) if name not in problems]
        if len(rows) == len(batch.ids):
            predicted.append(pipeline.decode(batch, of_members))
        elif rows:
            predicted.append(pipeline.decode(batch.only(rows), [outputs_of(found, rows) for found in of_members]))
    return Chunk(files=images.files, predicted=predicted, problems=problems)


def _outputs(images: _Reading, pipeline: Pipeline, index: int, on_batch: Callable[[int], object]) -> list[HeadOutputs]:
    """What a member says of every batch."""
    outputs = []
    for batch in images:
        outputs.append(pipeline.outputs(index, batch))
        on_batch(len(batch.ids))
    return outputs
