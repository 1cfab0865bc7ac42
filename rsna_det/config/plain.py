"""Values of strangers: numbers, flags, words and flat lists of numbers, each of one type and within a range.

What a file says is data. Here it becomes the arguments of a function that this package chose, and nothing else: a value
of another type (a subclass too), a container in a container, or a name that is not known is a problem in words.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

_SHOWN = 60


@runtime_checkable
class Kind(Protocol):
    """What a value may be."""

    def problem(self, value: object) -> str | None:
        """What is wrong with a value; None for nothing."""


@dataclass(frozen=True, kw_only=True)
class Flag:
    """True or false."""

    optional: bool = False

    def problem(self, value: object) -> str | None:
        """As of :class:`Kind`."""
        fits = type(value) is bool or (self.optional and value is None)
        return None if fits else "expected true or false"


@dataclass(frozen=True, kw_only=True)
class Number:
    """A number within a closed range; NaN is in none."""

    low: float
    high: float
    whole: bool = False

    def problem(self, value: object) -> str | None:
        """As of :class:`Kind`."""
        kinds = (int,) if self.whole else (int, float)
        if type(value) in kinds and self.low <= value <= self.high:  # type: ignore[operator]
            return None
        return f"expected {'a whole' if self.whole else 'a'} number from {self.low:g} to {self.high:g}"


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """A flat list of numbers."""

    each: Number
    shortest: int
    longest: int

    def problem(self, value: object) -> str | None:
        """As of :class:`Kind`."""
        if type(value) is not list or not self.shortest <= len(value) <= self.longest:
            return f"expected a list of {self.shortest} to {self.longest} numbers"
        return next((problem for item in value if (problem := self.each.problem(item))), None)


@dataclass(frozen=True, kw_only=True)
class Word:
    """A short text of one pattern, without control characters; as it stands, no path, address or placeholder."""

    pattern: str = r"[A-Za-z0-9_]{1,100}(\.[A-Za-z0-9_]{1,100})?"
    expected: str = "a name of letters, digits and underscores"

    def problem(self, value: object) -> str | None:
        """As of :class:`Kind`."""
        fits = type(value) is str and value.isprintable() and re.fullmatch(self.pattern, value) is not None
        return None if fits else f"expected {self.expected}"


@dataclass(frozen=True, kw_only=True)
class Either:
    """One of several kinds."""

    kinds: tuple[Kind, ...]

    def problem(self, value: object) -> str | None:
        """As of :class:`Kind`."""
        problems = [kind.problem(value) for kind in self.kinds]
        return None if None in problems else " or ".join(filter(None, problems))


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """A flat mapping of known names; itself a kind, for the one argument that is such a mapping.

    Attributes:
        required: kinds of the names that must be there.
        optional: of those that may be.
        nothing: whether None stands for an empty one.
    """

    required: Mapping[str, Kind]
    optional: Mapping[str, Kind] = field(default_factory=dict)
    nothing: bool = False

    def problem(self, value: object) -> str | None:
        """As of :class:`Kind`."""
        if value is None and self.nothing:
            return None
        return "; ".join(self.problems(value, "")) or None

    def problems(self, value: object, where: str) -> Iterator[str]:
        """Everything that is wrong.

        Args:
            value: of any type.
            where: name of the value, dotted.
        """
        if type(value) is not dict:
            yield f"{where or 'it'} is {shown_value(value)}; expected names with their values"
            return
        kinds = {**self.required, **self.optional}
        for name in value:
            if type(name) is not str or name not in kinds:
                yield f"{where or 'it'} takes no {shown_value(name)}, only {', '.join(kinds)}"
        for name, kind in kinds.items():
            problem = kind.problem(value[name]) if name in value else None
            if problem is not None:
                yield f"{_below(where, name)} is {shown_value(value[name])}: {problem}"
        for name in self.required:
            if name not in value:
                yield f"it lacks {_below(where, name)}"


def shown_value(value: object) -> str:
    """A value in a message: short, and of a container only its type, since it may hold itself or anything."""
    if value is None or type(value) in (bool, int, float, str):
        text = repr(value) if not isinstance(value, int) or abs(value) < 10**_SHOWN else "a huge number"
        return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    return f"a {type(value).__name__}"


def _below(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name
