"""How a prediction is carried out: its settings, how many images fit into memory at once, and where the time goes."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from rsna_det.boxes.anchors import ANCHORS_PER_CELL
from rsna_det.data.dicom.limits import DEFAULT_LIMITS, Limits
from rsna_det.errors import InvalidValueError
from rsna_det.predict.members import Member

DECODING, LOADING, NETWORK, BOXES, DRAWING = "decode and resize", "load members", "network", "decode boxes", "draw"
"""The stages that are timed."""

# The most that an interrupted prediction loses, and enough to make loading the members once per chunk cheap.
_LARGEST_CHUNK = 512
_NUMBERS_PER_ANCHOR = 5
_FLOAT = 4
GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How the work is done; nothing here changes what is detected, beyond rounding.

    Attributes:
        batch_size: images that the network sees at once.
        memory_gb: GiB that outputs and pixels may take, in addition to the network itself.
        workers: processes that decode and draw; a few images are left to one thread.
        device: of the network.
        pictures: number of images that are drawn, from the first on; None for all.
        limits: on each file, and which doubts are accepted.

    Raises:
        InvalidValueError: for a number out of range.
    """

    batch_size: int
    memory_gb: float
    workers: int
    device: torch.device
    pictures: int | None
    limits: Limits = DEFAULT_LIMITS

    def __post_init__(self) -> None:
        check_batch_size(self.batch_size)
        if self.workers < 1:
            raise InvalidValueError(f"workers is {self.workers}; expected 1 or more")
        if not self.memory_gb > 0:
            raise InvalidValueError(f"memory_gb is {self.memory_gb}; expected a number above 0")
        if self.pictures is not None and self.pictures < 0:
            raise InvalidValueError(f"pictures is {self.pictures}; expected true, false or a number from 0")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How many images are worked on at once, and the memory that takes."""

    images_in_chunk: int
    chunks: int
    peak_bytes: int


@dataclass(kw_only=True)
class Timings:
    """Seconds spent in each stage, in all workers together, and images that passed through it."""

    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    counts: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))

    def add(self, stage: str, seconds: float, images: int = 1) -> None:
        """Add what some images took."""
        self.seconds[stage] += seconds
        self.counts[stage] += images


def check_batch_size(batch_size: int) -> None:
    """Check the number of images that the network sees at once.

    Raises:
        InvalidValueError: if it is below 1.
    """
    if batch_size < 1:
        raise InvalidValueError(f"batch_size is {batch_size}; expected 1 or more")


def plan_chunks(*, images: int, members: Sequence[Member], settings: Settings) -> Plan:
    """Divide the images into chunks that fit into the allowed memory.

    Each image of a chunk takes every member's outputs of every anchor, its pixels as read and as part of its batch,
    and those of an image of the next chunk. In addition, combining one image and decoding one batch take memory once.
    """
    side, count = members[0].image_size, len(members)
    anchors = sum(ANCHORS_PER_CELL * (-(-side // 2**level)) ** 2 for level in members[0].levels)
    outputs = anchors * _NUMBERS_PER_ANCHOR * _FLOAT
    per_image = count * outputs + 3 * side**2
    # Combining works in float64, on sorted and shifted copies of the four deltas.
    once = 4 * anchors * 4 * count * 2 * _FLOAT + settings.batch_size * (2 * outputs + 10 * anchors * _FLOAT)
    fitting = int((settings.memory_gb * GIB - once) / per_image)
    size = max(1, min(fitting, _LARGEST_CHUNK, images))
    return Plan(images_in_chunk=size, chunks=-(-images // size), peak_bytes=once + size * per_image)
