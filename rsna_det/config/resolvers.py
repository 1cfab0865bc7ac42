"""Functions that conf/ calls in placeholders, ``${name:first,second}``, on other values of the same configuration."""

from collections.abc import Callable, Mapping
from typing import Any


def either(first: Any, second: Any) -> Any:  # noqa: ANN401
    """The first value, or the second if there is none."""
    return second if first is None else first


def loads_weights(pretrained: Any, weights: Any) -> bool:  # noqa: ANN401
    """Whether an encoder starts from weights, of a file or downloaded."""
    return bool(pretrained) or weights is not None


OF_TWO_VALUES: Mapping[str, Callable[[Any, Any], Any]] = {"either": either, "loads_weights": loads_weights}
"""By name; they depend on their arguments alone, so that a saved configuration may hold them."""
