"""Preparing: the cache, the report on folds with and without true patients, the pictures of augmentations."""

import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from rsna_det.config.check import check_config
from rsna_det.config.compose import CONF, compose_config
from rsna_det.config.options import PrepareOptions
from rsna_det.data.labels.csv_tables import LabelError
from rsna_det.prepare import prepare as rsna_det_prepare


def prepare(tmp_path: Path, root: Path, *overrides: str) -> None:
    patients = f"data.patients_csv={root / 'patients.csv'}"
    size = "data.image_size=64"
    config = compose_config("prepare", [f"data.root={root}", patients, size, f"data.cache_dir={tmp_path}", *overrides])
    config.run_dir = str(tmp_path)
    rsna_det_prepare(check_config(config, PrepareOptions))


def test_radiographs_are_decoded_and_folds_reported(synthetic_root: Path, tmp_path: Path) -> None:
    prepare(tmp_path, synthetic_root, "workers=1")
    (pixels,) = tmp_path.glob("*/pixels.npy")
    assert pixels.stat().st_size > 24 * 64 * 64
    report = pd.read_csv(tmp_path / "folds.csv")
    assert report["fold"].tolist() == ["0", "1", "2", "3", "total"]
    assert report["images"].iloc[-1] == 24
    assert report["shared_images"].sum() == 0


def test_label_tables_suffice_for_the_folds(synthetic_root: Path, tmp_path: Path) -> None:
    tables = tmp_path / "tables"
    tables.mkdir()
    for path in synthetic_root.glob("*.csv"):
        (tables / path.name).write_bytes(path.read_bytes())
    prepare(tmp_path, tables, "folds_only=true")
    grouped, ungrouped = (pd.read_csv(tmp_path / f"folds_{kind}.csv") for kind in ("grouped", "ungrouped"))
    assert grouped["shared_images"].sum() == 0
    assert ungrouped["shared_images"].iloc[-1] > 0


def test_one_command_draws_every_augmentation_set(synthetic_root: Path, tmp_path: Path) -> None:
    options = [f"data.root={synthetic_root}", "data.image_size=64", f"paths.runs={tmp_path}", "sheets=true"]
    done = subprocess.run(
        [sys.executable, "-m", "rsna_det.prepare", *options], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    sets = sorted(path.stem for path in (CONF / "augmentation").glob("*.yaml"))
    assert sorted(path.stem for path in tmp_path.glob("prepare/*/*.png")) == sets
    (heavy,) = tmp_path.glob("prepare/*/heavy.png")
    with Image.open(heavy) as picture:
        assert picture.width == 3 * 384


def test_wrong_labels_are_found_before_anything_is_decoded(synthetic_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "damaged"
    shutil.copytree(synthetic_root, root)
    table = root / "stage_2_detailed_class_info.csv"
    table.write_text(table.read_text().replace("Lung Opacity", "Lung opacity", 1))
    with pytest.raises(LabelError, match="Lung opacity"):
        prepare(tmp_path, root, "workers=1")
    assert not list(tmp_path.glob("damaged_*"))


def test_an_unknown_image_is_named(synthetic_root: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no image nobody"):
        prepare(tmp_path, synthetic_root, "sheets=true", "sheet_image=nobody")
