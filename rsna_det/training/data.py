"""What training needs of its data, as a protocol: training does not import :mod:`rsna_det.data`."""

from collections.abc import Callable, Sized
from typing import Protocol, runtime_checkable

import pandas as pd
from jaxtyping import Float
from pytorch_lightning import Trainer
from torch import Tensor

from rsna_det.structures import Batch


@runtime_checkable
class TrainingData(Protocol):
    """A data module as training sees it, such as :class:`rsna_det.data.datamodule.RsnaDataModule`.

    Attributes:
        fold: that validates.
        batch_size: images per step on each device.
        image_size: side of the network's square images, in pixels.
    """

    fold: int
    batch_size: int
    image_size: int

    @property
    def images(self) -> pd.DataFrame:
        """One row per image, as :func:`rsna_det.evaluation.tables.truth_table` takes them."""

    @property
    def val_images(self) -> pd.DataFrame:
        """The rows of ``images`` that validate."""

    @property
    def train_boxes(self) -> Float[Tensor, "boxes 4"]:
        """The label boxes of the images that train, not augmented, in network pixels."""

    def train_dataloader(self) -> Sized:
        """The training batches of an epoch on this device; no worker starts before the first is fetched."""

    def describe(self) -> str:
        """The data in words, one fact per line."""


@runtime_checkable
class FinishesBatches(Protocol):
    """A data module whose loaders' workers can do something with each batch before it leaves them.

    Attributes:
        image_size: side of the network's square images, in pixels.
    """

    image_size: int

    def finish_batches(self, finish: Callable[[Batch], Batch]) -> None:
        """Have the workers of all loaders made from now on call this."""


def training_data(trainer: Trainer) -> TrainingData:
    """The data module that a trainer fits on.

    Raises:
        RuntimeError: if it fits on data loaders instead.
    """
    data: TrainingData | None = trainer.datamodule  # type: ignore[attr-defined]
    if data is None:
        raise RuntimeError("a detector is trained on a data module: trainer.fit(module, datamodule=...)")
    return data
