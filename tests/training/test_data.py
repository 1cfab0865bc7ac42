"""What training asks of a data module is what ours has, and no more is asked."""

from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from pytorch_lightning import Trainer

from rsna_det.training.data import TrainingData, training_data
from tests.data.test_datamodule import module


def test_our_data_module_is_training_data(synthetic_root: Path) -> None:
    data = module(synthetic_root)
    assert isinstance(data, TrainingData)
    assert training_data(Mock(spec=Trainer, datamodule=data)) is data
    assert not isinstance(SimpleNamespace(fold=0, batch_size=4), TrainingData)


def test_bare_loaders_are_refused_with_what_is_needed() -> None:
    with pytest.raises(RuntimeError, match="datamodule="):
        training_data(Mock(spec=Trainer, datamodule=None))
