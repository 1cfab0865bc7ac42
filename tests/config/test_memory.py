"""Errors of too little memory, the real ones of this machine among them."""

import numpy as np
import pytest
import torch

from rsna_det.config.memory import lack_of_memory
from rsna_det.errors import StorageError

EXABYTE = 2**60


def test_what_torch_and_numpy_really_raise() -> None:
    with pytest.raises(RuntimeError) as of_torch:
        torch.empty(EXABYTE, dtype=torch.uint8)
    with pytest.raises(MemoryError) as of_numpy:
        np.empty(EXABYTE, dtype=np.uint8)
    assert lack_of_memory(of_torch.value) == lack_of_memory(of_numpy.value) == "this machine"


@pytest.mark.parametrize(
    ("error", "place"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), "the GPU"),
        (RuntimeError("CUDA error: out of memory"), "the GPU"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "the GPU"),
        (RuntimeError("DataLoader worker (pid 17) is killed by signal: Killed."), "a loader's worker"),
        (RuntimeError("DataLoader worker (pid(s) 17) exited unexpectedly"), "a loader's worker"),
        (RuntimeError("DataLoader worker (pid 3) is killed by signal: Bus error. It is possible"), "a loader's worker"),
        (OSError(12, "Cannot allocate memory"), "this machine"),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), None),
        (StorageError("disk full"), None),
        (ValueError("out of memory"), None),
    ],
)
def test_whose_memory_it_was(error: BaseException, place: str | None) -> None:
    assert lack_of_memory(error) == place
