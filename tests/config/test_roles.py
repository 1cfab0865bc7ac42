"""Every option of a training run has a role, and what follows from the roles is what it was."""

import pytest
from omegaconf import OmegaConf

from rsna_det.config.compose import CONF, compose_config
from rsna_det.config.console import set_up
from rsna_det.config.roles import FILE_OPTIONS, flat_options, role_of
from rsna_det.errors import ConfigError

# What a study's hash left out before the table existed: a change here makes finished runs strangers.
NOT_HASHED = (
    "name", "study", "run_dir", "resume", "paths.runs", "logger.csv.path", "score_untrained", "callbacks.images.count",
    "callbacks.plan.folder", "data.num_workers", "data.cache_dir", "trainer.accelerator", "trainer.devices",
    "trainer.num_nodes", "trainer.strategy", "trainer.plugins", "trainer.enable_progress_bar",
    "trainer.enable_model_summary", "trainer.log_every_n_steps",
)  # fmt: skip


def keys_of(*overrides: str) -> set[str]:
    set_up()
    config = compose_config("train", ["data.root=somewhere", "run_dir=run", *overrides])
    return {key for key, _ in flat_options(OmegaConf.to_container(config, resolve=True))}


@pytest.fixture(scope="module")
def every_key() -> set[str]:
    """The options of the configurations that add some; that each choice has roles is tested with its composition."""
    return keys_of() | keys_of("data=synthetic", "callbacks=every_epoch", "trainer=ddp") | keys_of("callbacks=ema")


def test_the_hash_leaves_out_what_it_left_out_before(every_key: set[str]) -> None:
    left_out = {key for key in every_key if not role_of(key).changes_result}
    assert set(NOT_HASHED) <= left_out
    groups = ("logger.", "paths.", "callbacks.images.", "callbacks.plan.", "callbacks.hardware.", "trainer.")
    assert all(key in NOT_HASHED or key.startswith(groups) for key in left_out)


def test_options_that_name_files_exist(every_key: set[str]) -> None:
    assert set(FILE_OPTIONS) <= every_key


def test_an_option_without_a_role_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"colour\.of_the_room is not an option of a training run"):
        role_of("colour.of_the_room")


def test_the_table_knows_every_group_of_the_training_configuration() -> None:
    groups = {path.name for path in CONF.iterdir() if path.is_dir()} - {
        "hydra",
        "sweep",
        "debug",
        "experiment",
        "initialisation",
    }
    assert all(role_of(group) for group in groups)
