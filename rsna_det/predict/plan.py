"""How prediction is done, how many images at once, and what came of it."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from rsna_det.boxes.anchors import ANCHORS_PER_CELL
from rsna_det.predict.members import Member
from rsna_det.structures import Detections

DECODING, LOADING, NETWORK, BOXES, DRAWING = "decode and resize", "load members", "network", "decode boxes", "draw"
"""The stages whose time is taken."""

# What a killed run loses at most, and what loading the members once more is worth.
_LARGEST_CHUNK = 512
_NUMBERS_PER_ANCHOR = 5
_FLOAT = 4
GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How the work is done; none of it changes what is found.

    Attributes:
        batch_size: images that the network sees at once.
        memory_gb: GiB that outputs and pixels may take, beside the network itself.
        workers: processes that decode and draw; with few images one thread does.
        device: of the network.
        pictures: how many images are drawn, the first; None for all.

    Raises:
        ValueError: for a number out of range.
    """

    batch_size: int
    memory_gb: float
    workers: int
    device: torch.device
    pictures: int | None

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.workers < 1 or not self.memory_gb > 0:
            raise ValueError(
                f"batch_size is {self.batch_size}, workers {self.workers} and memory_gb {self.memory_gb}; "
                "expected 1 or more, 1 or more, and above 0"
            )
        if self.pictures is not None and self.pictures < 0:
            raise ValueError(f"pictures is {self.pictures}; expected true, false or a number from 0")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How many images fit into memory at once, and what that takes."""

    images_in_chunk: int
    chunks: int
    peak_bytes: int


@dataclass(kw_only=True)
class Result:
    """What came of a prediction.

    Attributes:
        found: boxes of every image, source pixels.
        problems: what is wrong with each image that could not be read.
        undrawn: why an image that could be read has no picture.
        reused: images whose part an earlier run had finished.
        seconds: spent on each stage, in all workers together.
        counts: images that went through each stage.
    """

    found: dict[str, Detections] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    undrawn: dict[str, str] = field(default_factory=dict)
    reused: int = 0
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    counts: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))

    def count(self, stage: str, seconds: float, images: int = 1) -> None:
        """Add what a stage took."""
        self.seconds[stage] += seconds
        self.counts[stage] += images


def plan_chunks(*, images: int, members: Sequence[Member], settings: Settings) -> Plan:
    """How the images are divided so that what is kept of them fits into the memory allowed.

    Of each image that is every member's outputs of every anchor, its pixels as they were read and as they lie in their
    batch, and those of an image of the next chunk; beside these, what combining one image and decoding one batch needs.
    """
    side, count = members[0].image_size, len(members)
    anchors = sum(ANCHORS_PER_CELL * (-(-side // 2**level)) ** 2 for level in members[0].levels)
    outputs = anchors * _NUMBERS_PER_ANCHOR * _FLOAT
    an_image = count * outputs + 3 * side**2
    # Combining works in float64, on sorted and on shifted copies of the four deltas.
    beside = 4 * anchors * 4 * count * 2 * _FLOAT + settings.batch_size * (2 * outputs + 10 * anchors * _FLOAT)
    fitting = int((settings.memory_gb * GIB - beside) / an_image)
    size = max(1, min(fitting, _LARGEST_CHUNK, images))
    return Plan(images_in_chunk=size, chunks=-(-images // size), peak_bytes=beside + size * an_image)
