"""``python -m benchmarks [PART ...]``: ratios against peers, and the bounds that do not hold."""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from benchmarks import parts
from benchmarks.parts import Part

PARTS: Mapping[str, Callable[[int], Part]] = {
    "detector": parts.of_detector,
    "data": parts.of_data,
    "inference": parts.of_inference,
    "metric": parts.of_metric,
    "thresholds": parts.of_thresholds,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables; 1 if a bound does not hold."""
    options = _parse(arguments)
    console, rows, broken = Console(), [], []
    for name in options.parts or PARTS:
        part = PARTS[name](options.repeats)
        console.print(part.table)
        rows += [{"part": name} | row for row in part.rows]
        broken += part.broken
        if options.json is not None:
            # After every part: an interruption leaves what was measured.
            options.json.write_text(json.dumps(rows, indent=1) + "\n")
    console.print(f"bounds that do not hold: {broken or 'none'}")
    return bool(broken)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all without a name")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows of all tables there")
    parser.add_argument("--repeats", type=int, default=5, help="measured runs of each, of which the median counts (5)")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.parts if name not in PARTS]:
        parser.error(f"no such parts: {unknown}; choose among {list(PARTS)}")
    if options.repeats < 1:
        parser.error(f"--repeats is {options.repeats}; expected 1 or more")
    if options.json is not None and not options.json.absolute().parent.is_dir():
        parser.error(f"--json is {options.json}; its folder does not exist")
    return options


if __name__ == "__main__":
    sys.exit(main())
