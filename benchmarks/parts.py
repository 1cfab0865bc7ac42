"""The parts of ``python -m benchmarks``: what each measures, as a table, as rows, and the bounds that do not hold."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from rich.table import Table

from benchmarks import data, detector, ensembles, first_batch, inference, metric, thresholds
from benchmarks.measure import alternating_medians, peak_mebibytes

TIME_BOUNDS = {
    ("training step", "P2-P7, width 256"): 0.65,
    ("prediction", "P2-P7, width 256"): 0.65,
    ("training step", "without_p2"): 0.85,
    ("prediction", "without_p2"): 0.85,
    ("training step", "small"): 0.85,
    ("prediction", "small"): 0.85,
}
"""Of the peer's time."""
MEMORY_BOUNDS = {("training step", "P2-P7, width 256"): 0.85}
"""Of the peer's peak memory; 1 for all others, with :data:`NOISE`."""
NOISE = 1.03
"""Two runs of the same work differ by so much."""
GRID_SECONDS, GRID_RATIO = 60, 50
ENSEMBLE_MILLISECONDS = 15
SAMPLE_MILLISECONDS = 3.5
FIRST_BATCH_SECONDS = 10

Row = Mapping[str, str | float]


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one part measured.

    Attributes:
        table: for people.
        rows: for programs.
        broken: names of the bounds that do not hold.
    """

    table: Table
    rows: list[Row] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


def of_detector(repeats: int) -> Part:
    """Seconds and peak memory of a training step and a prediction, against torchvision's."""
    columns = ("512 px, ResNet-50, batch 2", "ours", "torchvision", "ratio", "ours, dense head")
    part = Part(table=_table("detector", *columns))
    works = {
        "training step": (detector.our_step, detector.their_step, detector.our_dense_step),
        "prediction": (detector.our_prediction, detector.their_prediction, detector.our_dense_prediction),
    }
    for variant in detector.VARIANTS:
        for what, makers in works.items():
            seconds = alternating_medians([make(variant) for make in makers], repeats=repeats)
            memory = [peak_mebibytes(make, variant) for make in makers]
            part.rows.append(detector_row(what, variant, seconds=seconds, mebibytes=memory))
            for unit, (own, peer, dense) in (("s", seconds), ("MiB", memory)):
                title = f"{variant}: {what}, {unit}"
                part.table.add_row(title, f"{own:.2f}", f"{peer:.2f}", f"{own / peer:.3f}", f"{dense:.2f}")
        (own,) = alternating_medians([detector.our_multi_task_step(variant)], repeats=repeats)
        part.table.add_row(f"{variant}: training step with the global head, s", f"{own:.2f}")
        part.rows.append({"what": "training step with the global head", "variant": variant, "ours_s": own})
    part.broken.extend(broken_bounds(part.rows))
    return part


def detector_row(what: str, variant: str, *, seconds: list[float], mebibytes: list[float]) -> Row:
    """A row of the detector, of what this package, the peer and this package's dense path need."""
    ours, peer, dense = seconds
    ours_mib, peer_mib, dense_mib = mebibytes
    return {
        "what": what,
        "variant": variant,
        "ours_s": ours,
        "peer_s": peer,
        "ratio": ours / peer,
        "ours_mib": ours_mib,
        "peer_mib": peer_mib,
        "memory_ratio": ours_mib / peer_mib,
        "dense_s": dense,
        "dense_mib": dense_mib,
    }


def broken_bounds(rows: list[Row]) -> list[str]:
    """The bounds of the detector's rows that do not hold, with what was measured."""
    broken = []
    for row in rows:
        if "ratio" not in row:
            continue
        case = (str(row["what"]), str(row["variant"]))
        for name, bound in (("ratio", TIME_BOUNDS[case]), ("memory_ratio", MEMORY_BOUNDS.get(case, NOISE))):
            if float(row[name]) > bound:
                broken.append(f"{case[1]}: {case[0]}, {name} {float(row[name]):.3f} above {bound}")
    return broken


def of_data(repeats: int) -> Part:
    """Samples a second from the cache, against decoding every time."""
    part = Part(table=_table("samples per second", "512 px, one thread", "cached", "decoded", "ratio"))
    for name, (cached, decoded) in data.samples_per_second(repeats=repeats).items():
        part.table.add_row(name, f"{cached:.0f}", f"{decoded:.0f}", f"{cached / decoded:.1f}")
        rates = {"cached_per_s": cached, "decoded_per_s": decoded, "ratio": cached / decoded}
        part.rows.append({"what": "samples", "variant": name, **rates})
        if cached < decoded:
            part.broken.append(f"samples per second, {name}")
    sample = data.milliseconds_a_sample(repeats=repeats)
    part.table.add_row("ms of a cached heavy_customrot sample", f"{sample:.2f}")
    part.rows.append({"what": "heavy sample", "variant": "heavy_customrot", "ours_s": sample / 1000})
    if sample > SAMPLE_MILLISECONDS:
        part.broken.append(f"a heavy sample: {sample:.2f} ms above {SAMPLE_MILLISECONDS}")
    for stage, seconds in first_batch.seconds_to_first_batch().items():
        part.table.add_row(f"first batch of {first_batch.IMAGES:,} images, {stage}, s", f"{seconds:.1f}")
        part.rows.append({"what": "first batch", "variant": stage, "ours_s": seconds})
    if float(part.rows[-1]["ours_s"]) > FIRST_BATCH_SECONDS:
        part.broken.append(f"first batch: {float(part.rows[-1]['ours_s']):.1f} s above {FIRST_BATCH_SECONDS}")
    return part


def of_inference(repeats: int) -> Part:
    """Images a second of each stage of prediction, and milliseconds to combine an ensemble's outputs."""
    title = f"prediction, {inference.SIDE} px, ResNet-34 and small heads, {inference.MEMBERS} members"
    part = Part(table=_table(title, "stage", "images a second", "ms an image"))
    for stage, rate in inference.images_per_second().items():
        part.table.add_row(stage, f"{rate:.1f}", f"{1000 / rate:.1f}")
        part.rows.append({"what": "stage", "variant": stage, "images_per_s": rate})
    for members in ensembles.MEMBERS:
        ours, everywhere = ensembles.milliseconds_per_image(members=members, repeats=repeats)
        name = f"combining {members} members, {ensembles.ANCHORS:,} anchors, percentile rule"
        part.table.add_row(name, f"{1000 / ours:.1f}", f"{ours:.1f} ({everywhere:.0f} for all anchors)")
        times = {"ours_s": ours / 1000, "dense_s": everywhere / 1000}
        part.rows.append({"what": "combining", "variant": f"{members} members", **times})
        if members == ensembles.MEMBERS[0] and ours > ENSEMBLE_MILLISECONDS:
            part.broken.append(f"{name}: {ours:.1f} ms above {ENSEMBLE_MILLISECONDS}")
    return part


def of_metric(repeats: int) -> Part:
    """Seconds of the challenge's metric."""
    part = Part(table=_table(f"the challenge's metric on {metric.IMAGES} images", "cuts", "s"))
    for cuts, seconds in zip(("1", "58"), metric.seconds(repeats=repeats), strict=True):
        part.table.add_row(cuts, f"{seconds:.2f}")
        part.rows.append({"what": "metric", "variant": f"{cuts} cuts", "ours_s": seconds})
    if float(part.rows[-1]["ours_s"]) > 1:
        part.broken.append("metric in under a second")
    return part


def of_thresholds(repeats: int) -> Part:  # noqa: ARG001  # a minute is long enough to be measured once
    """The grid of epochs, cuts and NMS IoUs against a plain loop."""
    seconds, peak, faster = thresholds.measurements()
    points = f"{thresholds.EPOCHS} epochs x {len(thresholds.CUTS)} cuts x {len(thresholds.NMS_IOUS)} NMS IoUs"
    title = f"the grid of {points} on {thresholds.IMAGES} images"
    part = Part(table=_table(title, "s", "peak MiB", "a plain loop's time for a grid point"))
    part.table.add_row(f"{seconds:.1f}", f"{peak:.0f}", f"{faster:.0f} times as long")
    measured = {"ours_s": seconds, "ours_mib": peak, "ratio": 1 / faster}
    part.rows.append({"what": "grid", "variant": points, **measured})
    part.broken.extend(["the grid in under 60 s"] if seconds > GRID_SECONDS else [])
    part.broken.extend(["the grid 50 times faster than a loop"] if faster < GRID_RATIO else [])
    return part


def _table(title: str, *columns: str) -> Table:
    return Table(*columns, title=title, title_justify="left")
