"""``python -m benchmarks``: a quarter of an hour on two cores; prints ratios and the bounds that do not hold."""

import sys

from rich.console import Console
from rich.table import Table

from benchmarks import data, detector, inference, metric, thresholds
from benchmarks.measure import alternating_medians, peak_mebibytes

REPEATS = 5
NOISE = 1.03
"""Two runs of the same work differ by so much."""
GRID_SECONDS, GRID_RATIO = 60, 50


def main() -> int:
    """Print the tables; 1 if a bound does not hold."""
    console, failures = Console(), []
    table = Table("512 px, ResNet-50, batch 2", "ours", "torchvision", "ratio", title="detector", title_justify="left")
    for variant in detector.VARIANTS:
        for name, ours, theirs in (
            ("training step", detector.our_step, detector.their_step),
            ("prediction", detector.our_prediction, detector.their_prediction),
        ):
            seconds = alternating_medians([ours(variant), theirs(variant)], repeats=REPEATS)
            memory = [peak_mebibytes(ours, variant), peak_mebibytes(theirs, variant)]
            for unit, (own, peer) in (("s", seconds), ("MiB", memory)):
                title = f"{variant}: {name}, {unit}"
                table.add_row(title, f"{own:.2f}", f"{peer:.2f}", f"{own / peer:.3f}")
                failures += [title] if own > NOISE * peer else []
        (own,) = alternating_medians([detector.our_multi_task_step(variant)], repeats=REPEATS)
        table.add_row(f"{variant}: training step with the global head, s", f"{own:.2f}", "", "")
    console.print(table)
    table = Table("512 px, one thread", "cached", "decoded", "ratio", title="samples per second", title_justify="left")
    for name, (cached, decoded) in data.samples_per_second(repeats=REPEATS).items():
        table.add_row(name, f"{cached:.0f}", f"{decoded:.0f}", f"{cached / decoded:.1f}")
        failures += [f"samples per second, {name}"] if cached < decoded else []
    console.print(table)
    title = f"prediction, {inference.SIDE} px, ResNet-34 and small heads, {inference.MEMBERS} members"
    table = Table("stage", "images a second", title=title, title_justify="left")
    for stage, rate in inference.images_per_second().items():
        table.add_row(stage, f"{rate:.1f}")
    console.print(table)
    one, many = metric.seconds(repeats=REPEATS)
    console.print(f"the challenge's metric on {metric.IMAGES} images: {one:.2f} s at one cut, {many:.2f} s at 58 cuts")
    failures += ["metric in under a second"] if many > 1 else []
    seconds, peak, faster = thresholds.measurements()
    points = f"{thresholds.EPOCHS} epochs x {len(thresholds.CUTS)} cuts x {len(thresholds.NMS_IOUS)} NMS IoUs"
    console.print(
        f"the grid of {points} on {thresholds.IMAGES} images: {seconds:.1f} s, peak {peak:.0f} MiB, "
        f"a grid point {faster:.0f} times faster than in a plain loop"
    )
    failures += ["the grid in under 60 s"] if seconds > GRID_SECONDS else []
    failures += ["the grid 50 times faster than a loop"] if faster < GRID_RATIO else []
    console.print(f"bounds that do not hold: {failures or 'none'}")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
