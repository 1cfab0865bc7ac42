"""The simulated challenge is read like the real one, from its cache."""

from pathlib import Path

import pytest

from benchmarks import first_batch
from rsna_det.config.compose import build, compose_config
from rsna_det.config.console import set_up
from rsna_det.structures import Category

IMAGES = 60


def test_the_simulated_challenge_is_prepared_and_has_the_challenges_shares(tmp_path: Path) -> None:
    set_up()
    root = first_batch.simulated_challenge(tmp_path, images=IMAGES)
    first_batch.simulated_cache(root, cache_dir=tmp_path / "cache")
    options = [f"data.root={root}", f"data.cache_dir={tmp_path / 'cache'}", "data.num_workers=0"]
    data = build(compose_config("train", options).data, augmentation=None)
    data.setup()
    assert data.plan()["cached"]
    assert len(data.images) == IMAGES
    positive = data.images["category"] == Category.OPACITY
    assert data.images["boxes"].map(len).tolist() == (2 * positive).tolist()
    batch = next(iter(data.val_dataloader()))
    assert tuple(batch.images.shape[-2:]) == (first_batch.SIDE, first_batch.SIDE)
    assert not batch.images.any()


@pytest.mark.filterwarnings("ignore")
def test_the_stages_add_up() -> None:
    set_up()
    seconds = first_batch.seconds_to_first_batch(images=IMAGES, workers=0)
    assert set(seconds) == {"build", "setup", "plan", "boxes", "first batch", "all"}
    assert seconds["all"] == pytest.approx(sum(value for stage, value in seconds.items() if stage != "all"))
