"""A dataset -> a loader that repeats nothing and disturbs no other random stream."""

from collections.abc import Iterator
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader

from rsna_det.data.dataset import RadiographDataset, collate
from rsna_det.data.sampling import EpochSampler


class EpochLoader(DataLoader[Any]):
    """A loader that asks its sampler for nothing before the first batch is fetched.

    Lightning makes a run's first iterator before it tells the sampler the epoch. A plain loader with workers fetches at
    once, and a resumed run would repeat the order and the augmentations of another epoch.
    """

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        yield from super().__iter__()


def epoch_loader(
    dataset: RadiographDataset, *, sampler: EpochSampler, batch_size: int, num_workers: int
) -> EpochLoader:
    """Batches of the images that a sampler chooses.

    Args:
        dataset: the images.
        sampler: of their order and augmentation seeds.
        batch_size: images a step.
        num_workers: processes that load; 0 for none.
    """
    return EpochLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=num_workers,
        collate_fn=collate,
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
