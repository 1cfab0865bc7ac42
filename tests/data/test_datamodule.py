import logging
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from rsna_det.data.cache.building import build_cache
from rsna_det.data.datamodule import RsnaDataModule
from rsna_det.data.labels.folds import fold_report
from rsna_det.data.labels.selection import limit_images
from rsna_det.data.synthetic.datamodule import SyntheticDataModule
from rsna_det.structures import Batch
from tests.data.augmentation.presets import preset

OPTIONS: dict[str, Any] = {
    "image_size": 64,
    "fold": 0,
    "num_folds": 2,
    "batch_size": 4,
    "num_workers": 0,
    "seed": 0,
    "augmentation": None,
    "patients_csv": None,
    "folds_csv": None,
    "test_ids": None,
    "cache_dir": None,
    "fold_seed": 0,
    "group_by_patient": True,
    "train_negatives": True,
    "limit_images": None,
}


def module(root: Path, **options: Any) -> RsnaDataModule:
    data = RsnaDataModule(root=str(root), **{**OPTIONS, **options})
    data.setup()
    return data


def by_id(batches: Any) -> dict[str, tuple[bytes, bytes]]:
    found = {}
    for batch in batches:
        assert isinstance(batch, Batch)
        for row, image_id in enumerate(batch.image_ids):
            boxes = batch.boxes[row][batch.box_mask[row]]
            found[image_id] = (batch.images[row].numpy().tobytes(), boxes.numpy().tobytes())
    return found


def test_one_fold_validates_and_the_others_train(synthetic_root: Path) -> None:
    folds = [module(synthetic_root, fold=fold) for fold in range(2)]
    val = [set(data.val_images["image_id"]) for data in folds]
    assert val[0] | val[1] == set(folds[0].images["image_id"])
    assert not val[0] & val[1]
    assert set(folds[0].train_images["image_id"]) == val[1]
    assert len(folds[0].images) == 24


def test_true_patients_stay_on_one_side(synthetic_root: Path) -> None:
    data = module(synthetic_root, patients_csv=str(synthetic_root / "patients.csv"))
    assert data.images["true_patient"].nunique() < 24
    assert not set(data.train_images["true_patient"]) & set(data.val_images["true_patient"])
    assert fold_report(data.images)["shared_images"].sum() == 0


def test_the_seed_of_a_run_does_not_move_images_between_folds(synthetic_root: Path) -> None:
    folds = [module(synthetic_root, seed=seed).images["fold"].tolist() for seed in (0, 1)]
    assert folds[0] == folds[1] != module(synthetic_root, fold_seed=1).images["fold"].tolist()


def test_validation_shows_every_image_once_and_never_augments(synthetic_root: Path) -> None:
    plain = module(synthetic_root)
    augmented = module(synthetic_root, augmentation=preset("heavy"))
    seen = [image_id for batch in plain.val_dataloader() for image_id in batch.image_ids]
    assert seen == plain.val_images["image_id"].tolist()
    assert by_id(plain.val_dataloader()) == by_id(augmented.val_dataloader())
    assert by_id(plain.train_dataloader()) != by_id(augmented.train_dataloader())


def test_batches_carry_the_labels(synthetic_root: Path) -> None:
    data = module(synthetic_root)
    rows = data.images.set_index("image_id")
    for batch in data.train_dataloader():
        for row, image_id in enumerate(batch.image_ids):
            truth = rows.loc[image_id]
            boxes = batch.source_boxes[row][batch.source_box_mask[row]].numpy()
            np.testing.assert_array_equal(boxes, truth["boxes"])
            assert int(batch.categories[row]) == truth["category"]
            assert batch.folds[row] == truth["fold"] != 0


def test_draws_do_not_depend_on_workers_or_devices_but_on_seed_and_epoch(synthetic_root: Path) -> None:
    def epoch(number: int, **options: Any) -> dict[str, tuple[bytes, bytes]]:
        loader = module(synthetic_root, augmentation=preset("heavy"), **options).train_dataloader()
        loader.sampler.set_epoch(number)  # type: ignore[attr-defined]
        return by_id(loader)

    reference = epoch(0)
    assert epoch(0, num_workers=2) == reference
    assert epoch(0, batch_size=3) == reference
    assert all(epoch(1)[image_id] != reference[image_id] for image_id in reference)
    assert all(epoch(0, seed=1)[image_id] != reference[image_id] for image_id in reference)
    shared: dict[str, tuple[bytes, bytes]] = {}
    for rank in range(2):
        data = module(synthetic_root, augmentation=preset("heavy"))
        data.trainer = SimpleNamespace(global_rank=rank, world_size=2, num_devices=2)  # type: ignore[assignment]
        shared |= by_id(data.train_dataloader())
    assert shared == reference


def test_persistent_workers_draw_afresh_every_epoch(synthetic_root: Path) -> None:
    loader = module(synthetic_root, augmentation=preset("heavy"), num_workers=2).train_dataloader()
    epochs = []
    for number in range(2):
        loader.sampler.set_epoch(number)  # type: ignore[attr-defined]
        epochs.append(by_id(loader))
    assert all(epochs[0][image_id] != epochs[1][image_id] for image_id in epochs[0])


def test_the_cache_gives_the_same_samples_as_the_files(synthetic_root: Path, tmp_path: Path) -> None:
    files = module(synthetic_root, cache_dir=str(tmp_path))
    assert not files.plan()["cached"]
    build_cache(root=synthetic_root, cache_dir=tmp_path, side=64, workers=1)
    cached = module(synthetic_root, cache_dir=str(tmp_path))
    assert cached.plan()["cached"]
    assert by_id(cached.train_dataloader()) == by_id(files.train_dataloader())
    assert by_id(cached.val_dataloader()) == by_id(files.val_dataloader())


def test_test_ids_are_in_no_loader(synthetic_root: Path, tmp_path: Path) -> None:
    kept_out = sorted(module(synthetic_root).images["image_id"])[:3]
    ids = tmp_path / "test_ids.txt"
    ids.write_text("\n".join(kept_out))
    data = module(synthetic_root, test_ids=str(ids))
    used = set(data.train_images["image_id"]) | set(data.val_images["image_id"])
    assert len(used) == 21
    assert not used & set(kept_out)
    assert data.plan()["outside"]["images"] == 3


def test_published_folds_are_taken_as_they_are(synthetic_root: Path, tmp_path: Path) -> None:
    images = module(synthetic_root).images
    table = pd.DataFrame({"patientId": images["image_id"], "fold": np.arange(24) % 3})
    table.to_csv(tmp_path / "folds.csv", index=False)
    data = module(synthetic_root, folds_csv=str(tmp_path / "folds.csv"), num_folds=3, fold=2)
    assert data.images["fold"].tolist() == table["fold"].tolist()
    assert len(data.val_images) == 8


def test_training_can_leave_images_without_boxes_out(synthetic_root: Path) -> None:
    everything, positives = module(synthetic_root), module(synthetic_root, train_negatives=False)
    assert 0 < len(positives.train_images) < len(everything.train_images)
    assert (positives.train_images["boxes"].map(len) > 0).all()
    assert len(positives.val_images) == len(everything.val_images)


def test_a_limit_keeps_the_shares_of_folds_and_categories(synthetic_root: Path) -> None:
    # 40 images: per fold 10 of category 0, 8 of category 1 and 2 of category 2. A quarter: 2.5, 2, 0.5 a fold.
    per_fold = [0] * 10 + [1] * 8 + [2] * 2
    images = pd.DataFrame(
        {
            "image_id": [f"{i:02}" for i in range(42)],
            "fold": [0] * 20 + [1] * 20 + [-1] * 2,
            "category": per_fold * 2 + [0] * 2,
        }
    )
    kept = limit_images(images, 20)
    assert kept.groupby(["fold", "category"]).size().tolist() == [5, 4, 1] * 2
    assert kept["image_id"].is_monotonic_increasing
    assert len(limit_images(images, 1000)) == 40
    data = module(synthetic_root, limit_images=10)
    assert len(data.images) == 10
    whole = module(synthetic_root).images.set_index("image_id")["fold"]
    assert data.images["fold"].tolist() == whole.loc[data.images["image_id"]].tolist()


def test_the_plan_counts_what_the_loaders_show(synthetic_root: Path) -> None:
    data = module(synthetic_root)
    plan, text = data.plan(), data.describe()
    for part, loader in {"train": data.train_dataloader(), "val": data.val_dataloader()}.items():
        batches = list(loader)
        assert plan[part]["images"] == sum(len(batch) for batch in batches)
        assert plan[part]["boxes"] == sum(int(batch.source_box_mask.sum()) for batch in batches)
        found = f"{plan[part]['images']} images, {plan[part]['positives']} with opacities, {plan[part]['boxes']} boxes"
        assert f"{part}: {found}" in text
    assert plan["train"]["images"] + plan["val"]["images"] == 24
    assert [row["fold"] for row in plan["folds"]] == ["0", "1", "total"]
    assert "rsna_det.prepare" in text


def test_workers_are_counted_per_device(synthetic_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rsna_det.data.datamodule.available_cores", lambda: 6)
    data = module(synthetic_root, num_workers=-1)
    assert data._workers() == 6
    data.trainer = SimpleNamespace(global_rank=0, world_size=4, num_devices=4)  # type: ignore[assignment]
    assert data._workers() == 1
    assert module(synthetic_root, num_workers=3)._workers() == 3


def test_memory_is_pinned_only_for_a_gpu(synthetic_root: Path) -> None:
    assert module(synthetic_root).train_dataloader().pin_memory is torch.cuda.is_available()


# --- refusals ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"fold": 2}, r"data\.fold is 2; with data\.num_folds=2 expected 0 to 1"),
        ({"fold": -1}, r"data\.fold is -1"),
        ({"num_folds": 1}, r"data\.num_folds is 1; expected 2 or more"),
        ({"batch_size": 0}, r"data\.batch_size is 0; expected 1 or more"),
        ({"image_size": 63}, r"data\.image_size is 63; expected 64 or more"),
        ({"num_workers": -2}, r"data\.num_workers"),
        ({"seed": -1}, r"data\.seed"),
        ({"limit_images": 0}, r"data\.limit_images"),
    ],
)
def test_numbers_are_checked_before_anything_is_read(synthetic_root: Path, wrong: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RsnaDataModule(root=str(synthetic_root), **{**OPTIONS, **wrong})


def test_a_wrong_folder_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere is no folder; .*train_images.*kaggle.*data=synthetic"):
        RsnaDataModule(root=str(tmp_path / "nowhere"), **OPTIONS)
    (tmp_path / "stage_2_train_images").mkdir()
    with pytest.raises(FileNotFoundError, match=r"has no stage_2_train_labels\.csv and no stage_2_detailed"):
        RsnaDataModule(root=str(tmp_path), **OPTIONS)


@pytest.mark.parametrize("name", ["patients_csv", "folds_csv", "test_ids"])
def test_a_missing_table_is_named(synthetic_root: Path, name: str) -> None:
    with pytest.raises(FileNotFoundError, match=rf"data\.{name}=/no/such\.csv is no file"):
        RsnaDataModule(root=str(synthetic_root), **{**OPTIONS, name: "/no/such.csv"})


def test_a_fold_without_images_is_named(synthetic_root: Path) -> None:
    with pytest.raises(ValueError, match="no images are left for"):
        module(synthetic_root, limit_images=1)


def test_loaders_before_setup_say_so(synthetic_root: Path) -> None:
    with pytest.raises(RuntimeError, match=r"call setup\(\) first"):
        RsnaDataModule(root=str(synthetic_root), **OPTIONS).train_dataloader()


def test_a_missing_radiograph_is_found_before_training(synthetic_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "short"
    shutil.copytree(synthetic_root, root)
    gone = sorted((root / "stage_2_train_images").iterdir())[0]
    gone.unlink()
    with pytest.raises(ValueError, match=gone.stem):
        module(root)


# --- the embedded data ---------------------------------------------------------------------------------------


def test_synthetic_data_is_drawn_where_it_is_missing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = tmp_path / "drawn"
    options = {**OPTIONS, "patients_csv": str(root / "patients.csv")}
    data = SyntheticDataModule(num_images=12, source_side=64, data_seed=1, root=str(root), **options)
    assert not root.exists()  # nothing is written before it is needed
    with caplog.at_level(logging.INFO):
        data.prepare_data()
        data.setup("fit")
    assert caplog.text.count("drawing 12 radiographs of 64 px") == 1
    assert len(data.images) == 12
    assert next(iter(data.train_dataloader())).images.shape[1:] == (1, 64, 64)


def test_synthetic_data_checks_its_other_files(tmp_path: Path) -> None:
    options = {**OPTIONS, "folds_csv": str(tmp_path / "none.csv")}
    data = SyntheticDataModule(num_images=6, source_side=64, data_seed=1, root=str(tmp_path / "drawn"), **options)
    with pytest.raises(FileNotFoundError, match=r"data\.folds_csv"):
        data.setup()


# --- real radiographs ----------------------------------------------------------------------------------------


def test_real_radiographs_load(real_data: Path) -> None:
    patients = real_data / "patients.csv"
    data = module(
        real_data,
        image_size=128,
        num_folds=4,
        patients_csv=str(patients) if patients.is_file() else None,
        limit_images=24,
        augmentation=preset("heavy"),
    )
    batch = next(iter(data.train_dataloader()))
    assert batch.images.shape == (4, 1, 128, 128)
    assert batch.images.float().std() > 10
