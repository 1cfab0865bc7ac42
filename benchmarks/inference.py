"""Images per second of each stage of prediction, on drawn radiographs and a small untrained detector."""

import tempfile
from pathlib import Path

import torch

from rsna_det.config.check import check_config
from rsna_det.config.compose import compose_config
from rsna_det.config.console import set_up
from rsna_det.config.options import TrainOptions
from rsna_det.data.dicom.discovery import find_radiographs
from rsna_det.data.layout import IMAGES_DIR
from rsna_det.data.synthetic.writing import write_synthetic
from rsna_det.predict.ensemble_point import choose_point
from rsna_det.predict.members import find_members
from rsna_det.predict.plan import Settings
from rsna_det.predict.resumable import predict_into
from rsna_det.runs.session import build_module

IMAGES = 24
SIDE = 512
MEMBERS = 2
_OPTIONS = (
    "data.root=none",
    "run_dir=none",
    f"data.image_size={SIDE}",
    "encoder=resnet34",
    "encoder.pretrained=false",
    "model=small",
)


def images_per_second() -> dict[str, float]:
    """For each stage: images a second, one worker decoding and drawing; of the network, times members."""
    set_up()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_synthetic(root=folder / "drawn", num_images=IMAGES, side=SIDE, seed=0)
        for number in range(MEMBERS):
            _write_checkpoint(folder / f"{number}.ckpt", seed=number)
        members = find_members(str(folder / "*.ckpt"))
        result = predict_into(
            folder / "out",
            files=find_radiographs(str(folder / "drawn" / IMAGES_DIR)),
            members=members,
            point=choose_point(members),
            settings=Settings(batch_size=4, memory_gb=4.0, workers=1, device=torch.device("cpu"), pictures=None),
        )
    timings = result.timings
    return {stage: timings.counts[stage] / seconds for stage, seconds in timings.seconds.items()}


def _write_checkpoint(path: Path, *, seed: int) -> None:
    torch.manual_seed(seed)
    module = build_module(check_config(compose_config("train", list(_OPTIONS)), TrainOptions))
    torch.save({"epoch": seed, "state_dict": module.state_dict(), "rsna_det": module.description}, path)
