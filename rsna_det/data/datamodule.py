"""A fold of the challenge's data -> loaders for training and validation."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from pytorch_lightning import LightningDataModule
from torch import Tensor

from rsna_det.data.augmentation.presets import Augmentation
from rsna_det.data.cache.decoding_pool import available_cores
from rsna_det.data.cache.opening import open_cache
from rsna_det.data.cache.pixels import DicomSource, PixelCache, PixelSource
from rsna_det.data.dataset import RadiographDataset, collate, network_boxes
from rsna_det.data.dicom.reading import find_dicoms
from rsna_det.data.labels.folds import OUTSIDE, with_folds
from rsna_det.data.labels.reading import read_labels, read_test_ids
from rsna_det.data.labels.selection import check_used, limit_images
from rsna_det.data.layout import CLASS_CSV, IMAGES_DIR, LABELS_CSV
from rsna_det.data.loading import EpochLoader, epoch_loader
from rsna_det.data.sampling import EpochSampler
from rsna_det.data.summary import counts, describe
from rsna_det.errors import InvalidValueError, MissingFileError
from rsna_det.structures import Batch, Category

MIN_IMAGE_SIZE = 64
_MAX_WORKERS = 8
_KAGGLE = "kaggle competitions download -c rsna-pneumonia-detection-challenge"


class RsnaDataModule(LightningDataModule):
    """The challenge's training images: one fold validates, the others train.

    Works without a Trainer too: ``setup()``, then the loaders.

    Args:
        root: folder in the challenge's layout.
        image_size: side of the network's square images, in pixels.
        fold: the one that validates.
        num_folds: number of folds.
        batch_size: images a step on each device, in training and validation.
        num_workers: processes that load images for each device; 0 for none, -1 for as many as there are cores (8 at
            most).
        seed: of the order of the images and of their augmentations.
        augmentation: of the training images; None for none.
        patients_csv: map from image to true patient, which keeps each person's images in one fold.
        folds_csv: a published fold file, used in place of an assignment.
        test_ids: list of ids kept out of all folds.
        cache_dir: where ``rsna_det.prepare`` puts decoded images; without such a cache DICOM files are decoded at
            every read.
        fold_seed: of the assignment to folds: runs of several seeds share their folds.
        group_by_patient: False ignores the map in the assignment, as the published folds do.
        train_negatives: False leaves images without boxes out of the training (not of the validation).
        limit_images: keep only so many, with the same share of each fold and category; None for all.

    Raises:
        MissingFileError: a file or folder does not exist.
        InvalidValueError: a number is out of range.
    """

    collate = staticmethod(collate)

    def __init__(
        self,
        *,
        root: str,
        image_size: int,
        fold: int,
        num_folds: int,
        batch_size: int,
        num_workers: int,
        seed: int,
        augmentation: Augmentation | None,
        patients_csv: str | None,
        folds_csv: str | None,
        test_ids: str | None,
        cache_dir: str | None,
        fold_seed: int,
        group_by_patient: bool,
        train_negatives: bool,
        limit_images: int | None,
    ) -> None:
        super().__init__()
        self.root = Path(root).expanduser()
        self.image_size = image_size
        self.fold = fold
        self.num_folds = num_folds
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.seed = seed
        self.augmentation = augmentation
        self.patients_csv = _path(patients_csv)
        self.folds_csv = _path(folds_csv)
        self.test_ids = _path(test_ids)
        self.cache_dir = _path(cache_dir)
        self.fold_seed = fold_seed
        self.group_by_patient = group_by_patient
        self.train_negatives = train_negatives
        self.limit_images = limit_images
        self._images: pd.DataFrame | None = None
        self._pixels: PixelSource | None = None
        self._finish: Callable[[Batch], Batch] | None = None
        self._check_numbers()
        self._check_files()

    def setup(self, stage: str | None = None) -> None:  # noqa: ARG002
        """Read and check the labels, assign the folds, find the pixels; a second call does nothing.

        Raises:
            LabelError: everything that is wrong with the tables, at once.
            CacheError: the cache no longer holds what is on disk.
            DataError: test ids or published folds contradict the images or the options.
            InvalidValueError: folds that cannot be made, or one without images.
        """
        if self._images is not None:
            return
        pixels = self._open_pixels()
        images = read_labels(
            root=self.root,
            patients_csv=self.patients_csv,
            sizes=pixels.sizes,
            image_ids_on_disk=set(pixels.sizes),
        )
        images = with_folds(
            images,
            num_folds=self.num_folds,
            seed=self.fold_seed,
            folds_csv=self.folds_csv,
            test_ids=read_test_ids(self.test_ids) if self.test_ids else frozenset(),
            group_by_patient=self.group_by_patient,
        )
        if self.limit_images is not None:
            images = limit_images(images, self.limit_images)
        check_used(self._training(images), f"training without fold {self.fold}")
        check_used(images[images["fold"] == self.fold], f"validation on fold {self.fold}")
        devices = self.trainer.world_size if self.trainer else 1
        if devices > (images["fold"] == self.fold).sum():
            raise InvalidValueError(f"fold {self.fold} has fewer images than the {devices} devices that validate on it")
        self._images, self._pixels = images, pixels

    @property
    def images(self) -> pd.DataFrame:
        """One row per image, including those outside all folds; see :func:`rsna_det.data.labels.reading.read_labels`.

        Raises:
            RuntimeError: before ``setup()``.
        """
        if self._images is None:
            raise RuntimeError("the data has not been read: call setup() first")
        return self._images

    @property
    def train_images(self) -> pd.DataFrame:
        """The rows that train."""
        return self._training(self.images).reset_index(drop=True)

    @property
    def val_images(self) -> pd.DataFrame:
        """The rows that validate."""
        return self.images[self.images["fold"] == self.fold].reset_index(drop=True)

    @property
    def train_boxes(self) -> Float[Tensor, "boxes 4"]:
        """The label boxes of the images that train, not augmented, in network pixels."""
        rows = self.train_images
        columns = zip(rows["boxes"], rows["height"], rows["width"], strict=True)
        boxes = [network_boxes(own, source_size=(h, w), image_size=self.image_size) for own, h, w in columns]
        return torch.from_numpy(np.concatenate([np.zeros((0, 4), dtype=np.float32), *boxes]))

    def finish_batches(self, finish: Callable[[Batch], Batch]) -> None:
        """Have the loaders' workers do something with each batch, such as to match anchors to its boxes.

        Args:
            finish: of a batch on the CPU; it is sent to the workers.
        """
        self._finish = finish

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:  # noqa: ARG002
        """The batch on the device; the host does not wait for what leaves page-locked memory."""
        return batch.to(device, non_blocking=True)

    def train_dataloader(self) -> EpochLoader:
        """Augmented training images in a new order every epoch."""
        return self._loader(self.train_images, augmentation=self.augmentation, shuffle=True)

    def val_dataloader(self) -> EpochLoader:
        """Validation images as they are, each exactly once over all devices."""
        return self._loader(self.val_images, augmentation=None, shuffle=False)

    def plan(self) -> dict[str, Any]:
        """What a run on this data will use: where pixels come from; counts of images, positives and boxes."""
        cached = isinstance(self._pixels, PixelCache)
        return {
            "root": str(self.root),
            "source": str(self._pixels.file if isinstance(self._pixels, PixelCache) else self.root / IMAGES_DIR),
            "cached": cached,
            "true_patients": self.patients_csv is not None,
            "image_size": self.image_size,
            "fold": self.fold,
            "num_folds": self.num_folds,
            **counts(train=self.train_images, val=self.val_images, images=self.images),
        }

    def describe(self) -> str:
        """The plan in words, one fact a line."""
        return describe(self.plan())

    def _training(self, images: pd.DataFrame) -> pd.DataFrame:
        used = ~images["fold"].isin([self.fold, OUTSIDE])
        if not self.train_negatives:
            used &= images["category"] == Category.OPACITY
        return images[used]

    def _open_pixels(self) -> PixelSource:
        if self.cache_dir is not None:
            cache = open_cache(root=self.root, cache_dir=self.cache_dir, side=self.image_size)
            if cache is not None:
                return cache
        return DicomSource(paths=find_dicoms(self.root / IMAGES_DIR), side=self.image_size)

    def _loader(self, images: pd.DataFrame, *, augmentation: Augmentation | None, shuffle: bool) -> EpochLoader:
        if self._pixels is None:
            raise RuntimeError("the data has not been read: call setup() first")
        dataset = RadiographDataset(
            images=images, pixels=self._pixels, image_size=self.image_size, augmentation=augmentation
        )
        rank, devices = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        sampler = EpochSampler(size=len(dataset), seed=self.seed, shuffle=shuffle, rank=rank, world_size=devices)
        return epoch_loader(
            dataset,
            sampler=sampler,
            batch_size=self.batch_size,
            num_workers=self._workers(),
            finish=self._finish,
        )

    def _workers(self) -> int:
        if self.num_workers >= 0:
            return self.num_workers
        devices = self.trainer.num_devices if self.trainer else 1
        return max(1, min(_MAX_WORKERS, available_cores() // devices))

    def _check_numbers(self) -> None:
        lowest = {"batch_size": 1, "num_workers": -1, "seed": 0, "fold_seed": 0, "num_folds": 2}
        lowest |= {"image_size": MIN_IMAGE_SIZE} | ({"limit_images": 1} if self.limit_images is not None else {})
        for name, low in lowest.items():
            if getattr(self, name) < low:
                raise InvalidValueError(f"data.{name} is {getattr(self, name)}; expected {low} or more")
        if not 0 <= self.fold < self.num_folds:
            expected = f"expected 0 to {self.num_folds - 1}"
            raise InvalidValueError(f"data.fold is {self.fold}; with data.num_folds={self.num_folds} {expected}")

    def _check_files(self) -> None:
        there = {IMAGES_DIR: Path.is_dir, LABELS_CSV: Path.is_file, CLASS_CSV: Path.is_file}
        missing = [name for name, is_there in there.items() if not is_there(self.root / name)]
        if missing:
            found = f"has no {' and no '.join(missing)}" if self.root.is_dir() else "is no folder"
            raise MissingFileError(
                f"data.root={self.root} {found}; expected the challenge's {IMAGES_DIR}/, {LABELS_CSV} and {CLASS_CSV}: "
                f"get them with `{_KAGGLE}` and unpack them there, or try the embedded data with data=synthetic"
            )
        for name in ("patients_csv", "folds_csv", "test_ids"):
            path = getattr(self, name)
            if path is not None and not path.is_file():
                raise MissingFileError(f"data.{name}={path} is no file; name another, or none: data.{name}=null")


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text).expanduser()
