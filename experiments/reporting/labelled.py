"""The labelled images of a data folder, and pictures of some of them."""

from pathlib import Path

import numpy as np
import pandas as pd
from hydra.utils import get_class
from PIL import Image

from rsna_det.config.compose import build
from rsna_det.config.options import Component
from rsna_det.data.labels.reading import read_labels
from rsna_det.data.synthetic.datamodule import SyntheticDataModule
from rsna_det.files.atomic import whole_file


def labelled_images(data: Component) -> tuple[Path, pd.DataFrame]:
    """A data folder and its images with their labels; the synthetic data are drawn if they are missing.

    Args:
        data: describes the data module.

    Returns:
        The folder in the challenge's layout, of which the tables suffice, and the rows of
        :func:`rsna_det.data.labels.reading.read_labels`.

    Raises:
        RsnaDetError: if a table is missing, or for every problem of the labels.
    """
    if issubclass(get_class(data["_target_"]), SyntheticDataModule):
        build(data, augmentation=None).prepare_data()
    root = Path(data["root"]).expanduser()
    patients = data["patients_csv"]
    return root, read_labels(root=root, patients_csv=None if patients is None else Path(patients).expanduser())


def save_picture(picture: np.ndarray, path: Path) -> Path:
    """Write an RGB picture as a PNG that is whole or not there.

    Raises:
        OSError: if it cannot be written.
    """
    with whole_file(path) as partial:
        Image.fromarray(picture).save(partial, format="PNG")
    return path
