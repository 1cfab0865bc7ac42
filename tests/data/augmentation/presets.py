"""The presets of conf/augmentation, built as the entry points build them."""

from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from rsna_det.data.augmentation.presets import Augmentation

CONF = Path(__file__).parents[3] / "conf"
PAPER = ("none", "light", "heavy", "heavy_norot", "heavy_customrot")
PUBLISHED = tuple(f"published_{name}" for name in PAPER)


def preset(name: str, **overrides: float | str) -> Augmentation:
    """One preset with some of its numbers replaced."""
    with initialize_config_dir(str(CONF), version_base=None):
        config = compose(overrides=[f"+augmentation={name}"]).augmentation
    config = OmegaConf.merge(config, overrides)
    augmentation = instantiate(config)
    assert isinstance(augmentation, Augmentation)
    return augmentation
