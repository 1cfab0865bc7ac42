"""Which errors of torch, NumPy and the system mean that memory was too small, and whose."""

import re

_OF_THE_GPU = re.compile(r"CUDA error: out of memory|CUDA out of memory|(CUDNN|CUBLAS)_STATUS_ALLOC_FAILED", re.I)
_OF_THE_MACHINE = re.compile(
    r"DefaultCPUAllocator|can't allocate memory|not enough memory|Cannot allocate memory|std::bad_alloc", re.I
)
# The system's own remedy for too little memory is to kill; /dev/shm, through which workers hand over batches, ends in a
# bus error.
_OF_A_WORKER = re.compile(r"DataLoader worker .*(killed by signal|exited unexpectedly|bus error)", re.I | re.S)


def lack_of_memory(error: BaseException) -> str | None:
    """Whose memory was too small: ``"the GPU"``, ``"this machine"``, ``"a loader's worker"``; None for other errors."""
    if isinstance(error, MemoryError):
        return "this machine"
    if not isinstance(error, RuntimeError | OSError):
        return None
    # Before torch is imported there is none of its errors: the name tells.
    if type(error).__name__ == "OutOfMemoryError" or _OF_THE_GPU.search(str(error)):
        return "the GPU"
    if _OF_A_WORKER.search(str(error)):
        return "a loader's worker"
    return "this machine" if _OF_THE_MACHINE.search(str(error)) else None
