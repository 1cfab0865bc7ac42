"""How many examples a property test draws."""

from hypothesis import settings

_USUAL = 100
"""Examples of Hypothesis's own that a profile's ``max_examples`` is a multiple of."""


def examples(count: int) -> settings:
    """``count`` examples, ten times as many with ``--hypothesis-profile=fuzz`` (see ``tests/conftest.py``)."""
    return settings(max_examples=count * settings.default.max_examples // _USUAL)
