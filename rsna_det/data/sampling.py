"""Which images an epoch shows, in which order, and the seed of each one's augmentation."""

import math
from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

# The purpose of each random stream: streams of one seed must not repeat each other.
_ORDER, _AUGMENTATION = 1, 2


def augmentation_seed(*, seed: int, epoch: int, index: int) -> int:
    """The seed of one image's augmentation in one epoch; it depends on nothing else, such as workers or devices."""
    return int(np.random.SeedSequence([_AUGMENTATION, seed, epoch, index]).generate_state(1, np.uint64)[0])


class EpochSampler(Sampler[tuple[int, int]]):
    """Yields ``(index, augmentation seed)`` of the images that one device sees in an epoch.

    A shuffled sampler gives every device equally many images by starting again from the front: devices that train on
    unequal counts wait for each other for ever. One that does not shuffle shows every image exactly once over all
    devices, as a score over a validation set needs.

    Args:
        size: number of images.
        seed: of the order and of the augmentations.
        shuffle: a new order every epoch, and the same count on every device.
        rank: number of this device.
        world_size: number of devices.

    Raises:
        ValueError: for a number out of range.
    """

    def __init__(self, *, size: int, seed: int, shuffle: bool, rank: int = 0, world_size: int = 1) -> None:
        if size < 0 or seed < 0:
            raise ValueError(f"expected size >= 0 and seed >= 0; got {size=}, {seed=}")
        if not 0 <= rank < world_size:
            raise ValueError(f"expected 0 <= rank < world_size; got {rank=}, {world_size=}")
        self.size = size
        self.seed = seed
        self.shuffle = shuffle
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iterator shows; Lightning calls this before each one."""
        self.epoch = epoch

    def __len__(self) -> int:
        if self.shuffle:
            return math.ceil(self.size / self.world_size)
        return len(range(self.rank, self.size, self.world_size))

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch = self.epoch
        for index in self._order(epoch)[self.rank :: self.world_size].tolist():
            yield index, augmentation_seed(seed=self.seed, epoch=epoch, index=index)

    def _order(self, epoch: int) -> np.ndarray:
        if not self.shuffle:
            return np.arange(self.size)
        order = np.random.default_rng([_ORDER, self.seed, epoch]).permutation(self.size)
        return np.resize(order, len(self) * self.world_size)
