"""Which devices work, and in how many processes: those started and the trainer must agree, or they wait for ever."""

import os
from typing import TYPE_CHECKING

from rsna_det.config.options import Component
from rsna_det.errors import ConfigError, ResourceError

if TYPE_CHECKING:
    import torch

_SEVERAL_NODES = (
    "start one process per GPU on every node, `srun python -m rsna_det.train trainer=ddp trainer.num_nodes=2 ...` in a "
    "job of 2 nodes, or on each of them `torchrun --nnodes=2 --nproc-per-node=gpu --rdzv-backend=c10d "
    "--rdzv-endpoint=<first node>:29500 -m rsna_det.train trainer=ddp trainer.num_nodes=2 ...`"
)


def check_processes(trainer: Component, *, sweep: bool) -> None:
    """Check a trainer's options against the processes that torchrun or srun started, if one of them did.

    Args:
        trainer: the trainer's node of a configuration.
        sweep: whether the run is one of a sweep.

    Raises:
        ConfigError: for several devices in a sweep, several nodes without a program that starts on them, or several
            processes of a trainer for one.
    """
    several = is_distributed(trainer)
    if several and sweep:
        raise ConfigError("a sweep runs one job per GPU: use trainer=gpu in it, or trainer=ddp in a single run")
    program, started = _started()
    if trainer["num_nodes"] > 1 and program is None:
        raise ConfigError(
            f"trainer.num_nodes is {trainer['num_nodes']}, but neither srun nor torchrun started this process: "
            f"{_SEVERAL_NODES}"
        )
    if started > 1 and not several:
        raise ConfigError(
            f"{program} started {started} processes, but this trainer is for one: set trainer=ddp, or start one process"
        )


def check_accelerator(trainer: Component) -> None:
    """Refuse devices without float64, in which boxes are decoded and scores are summed, and float16 on a CPU.

    Args:
        trainer: the trainer's node of a configuration.

    Raises:
        ConfigError: for such a device, named or picked by Lightning, or such a precision.
    """
    import torch

    accelerator = trainer["accelerator"]
    if accelerator not in ("cpu", "gpu", "cuda", "auto"):
        raise ConfigError(
            f"trainer.accelerator is {accelerator!r}; expected gpu (CUDA) or cpu: other devices lack float64, in which "
            "boxes are decoded and scores are summed, or were never tried"
        )
    if accelerator in ("gpu", "auto") and torch.backends.mps.is_available() and not torch.cuda.is_available():
        raise ConfigError(
            f"trainer.accelerator={accelerator} means Apple's MPS here, which lacks float64: set `trainer=cpu`"
        )
    on_cpu = accelerator == "cpu" or (accelerator == "auto" and not torch.cuda.is_available())
    if on_cpu and str(trainer.get("precision")) in ("16", "16-mixed"):
        raise ConfigError(
            f"trainer.precision is {trainer['precision']}, but the run is on the CPU, which has no mixed precision of "
            "16 bits other than bfloat16: set trainer.precision=bf16-mixed, or 32-true, which is faster on most CPUs"
        )


def is_distributed(trainer: Component) -> bool:
    """Whether the trainer works on more than one device."""
    return str(trainer["strategy"]).startswith("ddp") or trainer["devices"] not in (1, "1") or trainer["num_nodes"] > 1


def _started() -> tuple[str | None, int]:
    """The program that started this process among others, and how many."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return "torchrun", int(os.environ["WORLD_SIZE"])
    # Of a step, so of srun: in a job's own shell there is one process, whatever the job asked for.
    if "SLURM_STEP_NUM_TASKS" in os.environ:
        return "srun", int(os.environ["SLURM_STEP_NUM_TASKS"])
    return None, 1


def pick_device(accelerator: str, *, option: str = "accelerator") -> "torch.device":
    """The device that ``auto``, ``cpu`` or ``cuda`` means here; ``option`` is named in the error.

    Raises:
        ResourceError: if a GPU is asked for and there is none.
    """
    import torch

    available = torch.cuda.is_available()
    if accelerator == "cuda" and not available:
        raise ResourceError(f"{option}=cuda, and torch sees no GPU here: set {option}=cpu or auto")
    return torch.device("cuda" if accelerator != "cpu" and available else "cpu")
