"""Parameters, FLOPs, time and memory of a training step for each encoder: ``python -m benchmarks.profile``."""

import argparse
import resource
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from csv import DictWriter
from dataclasses import asdict, dataclass, fields
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import torch
import yaml
from rich.console import Console
from rich.table import Table

from rsna_det.models.cost import gflops, millions_of_parameters
from rsna_det.models.encoder import Encoder
from rsna_det.models.retinanet import MultiTaskRetinaNet
from rsna_det.structures import HeadOutputs

_ENCODER_CONFIGS = Path(__file__).parents[1] / "conf" / "encoder"
_NOT_PUBLISHED = frozenset({"timm", "tiny"})
_STATUS = Path("/proc/self/status")
_MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What one encoder costs, alone and under the pyramid and the heads.

    Attributes:
        encoder: its name in ``conf/encoder``.
        encoder_mparams: parameters of the encoder in millions.
        model_mparams: parameters of the whole network in millions.
        encoder_gflops: 10^9 floating-point operations of a forward pass of the encoder for one batch (a
            multiplication and an addition are two).
        model_gflops: the same of the whole network.
        forward_s: seconds of a prediction's forward pass, median.
        step_s: seconds of a forward and a backward pass, median.
        forward_peak_mib: peak memory of the forward passes, parameters included: of the device on a GPU; on a CPU of
            the process, above what it held before the network was built.
        step_peak_mib: the same of the training steps.
    """

    encoder: str
    encoder_mparams: float
    model_mparams: float
    encoder_gflops: float
    model_gflops: float
    forward_s: float
    step_s: float
    forward_peak_mib: float
    step_peak_mib: float


@dataclass(frozen=True, kw_only=True)
class ProfileSetting:
    """The network and the batch that encoders are compared in."""

    image_size: int
    batch_size: int
    width: int
    levels: tuple[int, ...]
    repeats: int
    device: str
    threads: int


def profile_encoder(*, encoder: str, setting: ProfileSetting) -> Profile:
    """Build a network from random weights and measure it; memory is right in a fresh process only.

    Args:
        encoder: name of a file of ``conf/encoder``.
        setting: the network and the batch.
    """
    torch.set_num_threads(setting.threads)
    bare = _peak_mib(setting.device)
    images = torch.randint(0, 256, (setting.batch_size, 1, setting.image_size, setting.image_size), dtype=torch.uint8)
    images = images.to(setting.device)
    model = _build(encoder, setting)

    @torch.no_grad()
    def forward() -> None:
        model(images)

    def step() -> None:
        model.zero_grad(set_to_none=True)
        _any_loss(model(images)).backward()  # type: ignore[no-untyped-call]

    model.eval()
    encoder_gflops = gflops(lambda: model.encoder(images))
    model_gflops = gflops(lambda: model(images))
    forward_s = _median_seconds(forward, setting)
    forward_peak = _peak_mib(setting.device) - bare
    model.train()
    step_s = _median_seconds(step, setting)
    return Profile(
        encoder=encoder,
        encoder_mparams=millions_of_parameters(model.encoder),
        model_mparams=millions_of_parameters(model),
        encoder_gflops=encoder_gflops,
        model_gflops=model_gflops,
        forward_s=forward_s,
        step_s=step_s,
        forward_peak_mib=forward_peak,
        step_peak_mib=_peak_mib(setting.device) - bare,
    )


def published_encoders() -> list[str]:
    """Names of the encoders that have a configuration, without the template and the one for tests."""
    return sorted(path.stem for path in _ENCODER_CONFIGS.glob("*.yaml") if path.stem not in _NOT_PUBLISHED)


def main(arguments: Sequence[str] | None = None) -> None:
    """Profile encoders one after another, each in its own process, and write a table."""
    options = _parse(arguments)
    setting = ProfileSetting(
        image_size=options.image_size,
        batch_size=options.batch_size,
        width=options.width,
        levels=tuple(options.levels),
        repeats=options.repeats,
        device=options.device,
        threads=options.threads,
    )
    console = Console()
    profiles = []
    for name in options.encoders:
        try:
            profiles.append(_in_own_process(name, setting))
        except (RuntimeError, ValueError, OSError) as error:
            console.print(f"{name}: {type(error).__name__}: {error}")
        else:
            console.print(f"{name}: {profiles[-1].step_s:.2f} s a step")
        if options.out is not None:
            _write(profiles, options.out)
    console.print(_table(profiles, setting))


def _build(encoder: str, setting: ProfileSetting) -> MultiTaskRetinaNet:
    name = yaml.safe_load((_ENCODER_CONFIGS / f"{encoder}.yaml").read_text())["name"]
    model = MultiTaskRetinaNet(
        encoder=Encoder(name=name, pretrained=False, weights=None, normalise=True, freeze_statistics=True),
        width=setting.width,
        levels=setting.levels,
        dropout_global=0.5,
        dropout_box=0.0,
        global_head=True,
    )
    return model.to(setting.device)


def _any_loss(outputs: HeadOutputs) -> torch.Tensor:
    """A scalar that sends gradients into every output; its own cost is nothing beside the network's."""
    loss = outputs.box_logits.square().mean() + outputs.box_deltas.dense().square().mean()
    return loss if outputs.global_logits is None else loss + outputs.global_logits.square().mean()


def _median_seconds(call: Callable[[], None], setting: ProfileSetting) -> float:
    """One call to warm up, then the median of the others."""
    call()
    seconds = []
    for _ in range(setting.repeats):
        _synchronise(setting.device)
        start = time.perf_counter()
        call()
        _synchronise(setting.device)
        seconds.append(time.perf_counter() - start)
    return median(seconds)


def _synchronise(device: str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def _peak_mib(device: str) -> float:
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device) / _MIB
    if _STATUS.is_file():
        # Linux hands getrusage's peak on to child processes; this one is the process's own, in KiB.
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _in_own_process(name: str, setting: ProfileSetting) -> Profile:
    """A peak of memory is one of a process's whole life, and an encoder that does not fit must not end the others.

    Raises:
        RuntimeError: if the process dies, as when the system kills it for memory.
    """
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(profile_encoder, encoder=name, setting=setting).result()
        except BrokenProcessPool as error:
            raise RuntimeError("its process died; most likely it needed more memory than there is") from error


def _write(profiles: Sequence[Profile], path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = DictWriter(file, [field.name for field in fields(Profile)])
        writer.writeheader()
        writer.writerows(asdict(profile) for profile in profiles)


def _table(profiles: Sequence[Profile], setting: ProfileSetting) -> Table:
    table = Table(title=f"{setting.image_size} px, batch {setting.batch_size}, {setting.device}", caption=str(setting))
    for field in fields(Profile):
        table.add_column(field.name.replace("_", "\n"), justify="left" if field.name == "encoder" else "right")
    for profile in profiles:
        table.add_row(*(value if isinstance(value, str) else f"{value:.2f}" for value in asdict(profile).values()))
    return table


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--encoders", nargs="+", default=["all"], help="names of conf/encoder, or all")
    parser.add_argument("--image-size", type=int, default=512, help="side of the image in pixels")
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--width", type=int, default=256, help="channels of the pyramid and the box heads")
    parser.add_argument("--levels", type=int, nargs="+", default=[2, 3, 4, 5, 6, 7], help="levels of the pyramid")
    parser.add_argument("--repeats", type=int, default=3, help="timed calls, after one to warm up")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, help="CSV file for the table")
    options = parser.parse_args(arguments)
    if options.encoders == ["all"]:
        options.encoders = published_encoders()
    if unknown := [name for name in options.encoders if not (_ENCODER_CONFIGS / f"{name}.yaml").is_file()]:
        parser.error(f"no such encoders: {unknown}; choose among {published_encoders()}")
    return options


if __name__ == "__main__":
    main()
