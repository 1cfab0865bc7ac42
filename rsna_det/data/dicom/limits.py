"""What a file may ask of the machine, and which doubts about its pixels are waived."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from rsna_det.errors import InvalidValueError

Doubt: TypeAlias = Literal["one_grey_level", "presentation_lut_shape"]

ONE_GREY_LEVEL: Doubt = "one_grey_level"
"""The radiograph would leave with a single grey level."""
PRESENTATION_LUT_SHAPE: Doubt = "presentation_lut_shape"
"""PresentationLUTShape or PresentationLUTSequence says other than PhotometricInterpretation, which is then followed."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds on one file, so that a few bytes cannot take all memory; and what is accepted.

    Attributes:
        max_pixels: of the square around the image, times samples and frames. The largest chest radiographs
            have about 5,000 on their longer side; the network's square is made from the square around them.
        max_bytes: of the file, and of what a deflated one inflates to. The pixels that ``max_pixels`` allows take half
            of it at most.
        accept: doubts that are no errors.

    Raises:
        InvalidValueError: for a bound below 1.
    """

    max_pixels: int = 2**26
    max_bytes: int = 2**28
    accept: frozenset[Doubt] = field(default_factory=frozenset)

    def __post_init__(self) -> None:
        for name in ("max_pixels", "max_bytes"):
            if getattr(self, name) < 1:
                raise InvalidValueError(f"reading.{name} is {getattr(self, name)}; expected 1 or more")

    @classmethod
    def of(cls, *, max_pixels: int | None, max_bytes: int | None, accept: Sequence[Doubt]) -> "Limits":
        """From a command's options, where None keeps the default."""
        given = {"max_pixels": max_pixels, "max_bytes": max_bytes}
        numbers = {name: value for name, value in given.items() if value is not None}
        return cls(**numbers, accept=frozenset(accept))


DEFAULT_LIMITS = Limits()
