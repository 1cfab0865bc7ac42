"""The options of each command: one frozen dataclass a command, what a checked configuration becomes.

Defaults stand in conf/, never here. A part that names its class with ``_target_`` (data, encoder, callbacks, ...) is a
:data:`Component`: its values are checked against the signature of that class, and
:func:`~rsna_det.config.compose.build` makes it.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

Component: TypeAlias = dict[str, Any]
"""Plain containers that describe an object: ``_target_`` and its keyword arguments."""

SizeRule: TypeAlias = Literal["none", "percentile", "rescale"]


@dataclass(frozen=True, kw_only=True)
class Paths:
    """Where files lie; relative paths start from the working directory."""

    runs: Path
    studies: Path
    cache: Path
    synthetic: Path


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a DICOM file may ask of the machine, and what is accepted.

    Attributes:
        max_pixels: of the square around the image, times samples and frames; None for the reader's own.
        max_bytes: of a file, and of what a deflated one inflates to; None for the reader's own.
        accept: doubts about the pixels that are no errors.
    """

    max_pixels: int | None
    max_bytes: int | None
    accept: list[Literal["one_grey_level", "presentation_lut_shape"]]


@dataclass(frozen=True, kw_only=True)
class Optimization:
    """Optimizer, learning-rate schedule and gradient clipping.

    Attributes:
        optimizer: partial that takes the parameters.
        scheduler: partial of a function of :mod:`rsna_det.training.schedules`.
        gradient_clip: largest norm of the gradient; 0 or None for no clipping.
    """

    optimizer: Component
    scheduler: Component
    gradient_clip: float | None


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Options of ``python -m rsna_det.train`` and of every run of a study; conf/train.yaml explains each."""

    name: str
    study: str | None
    seed: int
    resume: str | None
    score_untrained: bool
    run_dir: Path
    paths: Paths
    data: Component
    augmentation: Component
    encoder: Component
    model: Component
    loss: Component
    decoding: Component
    optimizer: Optimization
    trainer: Component
    logger: dict[str, Component]
    callbacks: dict[str, Component | None]


@dataclass(frozen=True, kw_only=True)
class PrepareOptions:
    """Options of ``python -m rsna_det.prepare``; conf/prepare.yaml explains each."""

    seed: int
    folds_only: bool
    sheets: bool
    sheet_image: str | None
    workers: int | None
    reading: Reading
    run_dir: Path
    paths: Paths
    data: Component


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Options of ``python -m rsna_det.evaluate``; conf/evaluate.yaml explains each."""

    runs: str | list[str] | None
    predictions: Path | None
    labels: Path | None
    patients_csv: Path | None
    ids: Path | None
    out: Path
    cut_grid: list[float] | None
    nms_ious: list[float]
    epoch: int | None
    cut: float | None
    nms_iou: float | None
    choose_nms_iou: bool
    size_rule: SizeRule
    save_operating_point: bool
    splits: int
    resamples: int
    seed: int
    run_dir: Path
    paths: Paths


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """Options of ``python -m rsna_det.predict``; conf/predict.yaml explains each."""

    checkpoints: str | list[str]
    images: str | list[str]
    out: Path
    overwrite: bool
    operating_point: Path | None
    cut: float | None
    nms_iou: float | None
    relative_cut: float | None
    size_rule: SizeRule | None
    size_scale: float | None
    rescale_factor: float | None
    pictures: bool | int
    labels: Path | None
    accelerator: Literal["auto", "cpu", "cuda"]
    batch_size: int
    memory_gb: float
    workers: int | None
    reading: Reading
    paths: Paths


@dataclass(frozen=True, kw_only=True)
class FigureOptions:
    """Options of the tables and figures that need no training; conf/figures.yaml explains each.

    ``data`` is empty for a figure that is drawn without data.
    """

    figure: str
    out: Path
    seed: int
    radiographs: int
    predictions: Path | None
    evaluation: Path | None
    paths: Paths
    data: Component = field(default_factory=dict)


def as_plain(options: TrainOptions) -> dict[str, Any]:
    """Options as plain containers, as a configuration file holds them."""
    plain: dict[str, Any] = _plain(asdict(options))
    return plain


def _plain(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
