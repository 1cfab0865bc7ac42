"""What a variant costs: parameters, operations and memory of its network, and the seconds of an epoch."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd

from experiments.reporting.study_report import Variant
from rsna_det.config.compose import build
from rsna_det.config.options import TrainOptions
from rsna_det.models.cost import Cost, network_cost
from rsna_det.models.retinanet import MultiTaskRetinaNet
from rsna_det.runs.folder import RunFolder
from rsna_det.runs.records import Start
from rsna_det.runs.resume import buildable


def variant_cost(variant: Variant, *, image_size: int | None = None) -> Cost:
    """The cost of a variant's network for one image.

    Args:
        variant: all its runs have the same network.
        image_size: side of the image in network pixels; None for that of the runs.

    Raises:
        RsnaDetError: if the run has no configuration, no network can be built from it, or the image is too small for
            the encoder.
    """
    run = next(iter(variant.seeds.values()))[0]
    options = buildable(run, run.config(), trained=False)
    side = options.data["image_size"] if image_size is None else image_size
    return network_cost(partial(_network, options), image_size=side)


def epoch_seconds(variant: Variant) -> tuple[float, str]:
    """Median seconds of an epoch, validation included, over all epochs of a variant's runs; and the devices' names.

    Starts without recorded times are left out; NaN and an empty name if no start has any.

    Raises:
        DataError: if a run's provenance is damaged.
    """
    starts = [start for folders in variant.seeds.values() for folder in folders for start in _starts(folder)]
    timed = [start for start in starts if start.epoch_seconds]
    seconds = [value for start in timed for value in start.epoch_seconds]
    devices = sorted({_device(start) for start in timed})
    return (float(np.median(seconds)) if seconds else np.nan), "; ".join(devices)


def cost_row(cost: Cost) -> dict[str, float]:
    """A cost as columns of a table."""
    return {
        "parameters (millions)": cost.model_mparams,
        "encoder parameters (millions)": cost.encoder_mparams,
        "GFLOPs per image": cost.model_gflops,
        "encoder GFLOPs per image": cost.encoder_gflops,
        "activations (MiB per image)": cost.activations_mib,
    }


def mean_lowest_loss(lowest: pd.DataFrame, variants: Sequence[Variant], loss: str) -> pd.DataFrame:
    """The lowest value of a validation loss in each run: its mean, minimum and maximum over a variant's runs.

    Args:
        lowest: of :func:`experiments.reporting.losses.lowest_of_runs`.
        variants: in the order of the rows.
        loss: its name.

    Returns:
        Columns ``mean``, ``low`` and ``high`` by variant's name.
    """
    own = lowest[lowest["loss"] == loss].groupby("variant")["value"]
    table = pd.DataFrame({"mean": own.mean(), "low": own.min(), "high": own.max()})
    return table.reindex([variant.name for variant in variants])


def _network(options: TrainOptions) -> MultiTaskRetinaNet:
    encoder = options.encoder | {"pretrained": False, "weights": None}
    network: MultiTaskRetinaNet = build(options.model, encoder=build(encoder))
    return network


def _starts(folder: RunFolder) -> list[Start]:
    provenance = folder.provenance()
    return provenance.starts if provenance else []


def _device(start: Start) -> str:
    device = start.device or {}
    return f"{device.get('count', 1)} x {device.get('name', 'unknown device')}"
