"""A dataset -> a loader that repeats nothing and disturbs no other random stream."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader

from rsna_det.data.dataset import RadiographDataset, collate
from rsna_det.data.sampling import EpochSampler
from rsna_det.structures import Batch, Sample


class EpochLoader(DataLoader[Any]):
    """A loader that asks its sampler for nothing before the first batch is fetched.

    Lightning makes a run's first iterator before it tells the sampler the epoch. A plain loader with workers fetches at
    once, and a resumed run would repeat the order and the augmentations of another epoch.
    """

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        yield from super().__iter__()


@dataclass(frozen=True, kw_only=True)
class _FinishedCollate:
    """Samples -> a batch, and what somebody does with it, in the process that loads."""

    finish: Callable[[Batch], Batch]

    def __call__(self, samples: Sequence[Sample]) -> Batch:
        return self.finish(collate(samples))


def epoch_loader(
    dataset: RadiographDataset,
    *,
    sampler: EpochSampler,
    batch_size: int,
    num_workers: int,
    finish: Callable[[Batch], Batch] | None = None,
) -> EpochLoader:
    """Batches of the images that a sampler chooses.

    Args:
        dataset: the images.
        sampler: of their order and augmentation seeds.
        batch_size: images a step.
        num_workers: processes that load; 0 for none.
        finish: what these processes do with each batch; None for nothing.
    """
    return EpochLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=num_workers,
        collate_fn=collate if finish is None else _FinishedCollate(finish=finish),
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_start_worker,
        persistent_workers=num_workers > 0,
        # Its own generator: a loader draws from torch's when it starts workers, and dropout would notice.
        generator=torch.Generator(),
    )


def _start_worker(_: int) -> None:
    # There are as many processes as cores: threads of their own would only slow each other down.
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
