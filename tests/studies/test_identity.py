"""Two ways of describing the same run have one hash; whatever can change a result makes another."""

import shutil
from pathlib import Path

import pytest

from rsna_det.studies.identity import identity, run_id
from tests.short_runs import composed


@pytest.fixture(scope="module")
def usual(synthetic_root: Path) -> str:
    return run_id(composed(synthetic_root, Path("run")))


@pytest.mark.parametrize(
    "overrides",
    [
        ["augmentation=heavy_norot"],
        ["experiment=no_aug", "augmentation=heavy_norot"],
        ["trainer=gpu", "trainer.max_epochs=1"],
        ["trainer.enable_progress_bar=true", "trainer.log_every_n_steps=50"],
        ["logger=wandb", "logger.wandb.tags=[a]"],
        ["logger=wandb", "logger.wandb.artifacts=false", "logger.wandb.job_type=try", "logger.wandb.group=another"],
        ["data.num_workers=2", "paths.cache=elsewhere", "paths.studies=elsewhere", "paths.runs=elsewhere"],
        ["callbacks.images.count=8", "score_untrained=true"],
        ["data.patients_csv=${data.root}/patients.csv"],
        ["model.dropout_box=0"],
        ["optimizer.optimizer.lr=0.0002", "optimizer.scheduler.warm_up=2e-1"],
        ["sweep=negatives"],
    ],
    ids=" ".join,
)
def test_the_same_run_described_differently(overrides: list[str], usual: str, synthetic_root: Path) -> None:
    assert run_id(composed(synthetic_root, Path("another"), *overrides)) == usual


@pytest.mark.parametrize(
    "override",
    [
        "data.fold=1",
        "seed=1",
        "data.fold_seed=1",
        "data.patients_csv=null",
        "data.train_negatives=false",
        "augmentation.rotation=1",
        "model.dropout_global=0.5",
        "encoder.normalise=false",
        "optimizer.gradient_clip=1",
        "trainer.max_epochs=2",
        "trainer.limit_train_batches=1",
        "trainer.precision=bf16-mixed",
        "decoding.cut=0.2",
        "loss.global_class=0",
        "callbacks=ema",
        "callbacks=default",
    ],
)
def test_what_matters_makes_another_run(override: str, usual: str, synthetic_root: Path) -> None:
    assert run_id(composed(synthetic_root, Path("run"), override)) != usual


def test_data_count_by_what_they_hold_and_not_by_where_they_are(
    usual: str, synthetic_root: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(synthetic_root, moved)
    assert run_id(composed(moved, Path("run"))) == usual
    labels = moved / "stage_2_train_labels.csv"
    labels.write_text(labels.read_text() + "\n")
    assert run_id(composed(moved, Path("run"))) != usual


def test_drawn_data_are_the_same_before_and_after_they_are_drawn(synthetic_root: Path, tmp_path: Path) -> None:
    options = ["data=synthetic", "data.patients_csv=${data.root}/patients.csv"]
    before = composed(tmp_path / "not_yet", Path("run"), *options)
    after = composed(synthetic_root, Path("run"), *options)
    assert run_id(before) == run_id(after)
    assert identity(before)["data.patients_csv"] == "patients.csv"


def test_the_callers_configuration_stays_as_it_is(synthetic_root: Path) -> None:
    config = composed(synthetic_root, Path("run"))
    before = config.copy()
    run_id(config)
    assert config == before
    assert config.run_dir == "run"
