import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning import LightningDataModule, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor, nn

from rsna_det.data.loading import EpochLoader
from rsna_det.data.sampling import EpochSampler, augmentation_seed


def epoch_of(sampler: EpochSampler, epoch: int) -> list[tuple[int, int]]:
    sampler.set_epoch(epoch)
    return list(sampler)


def test_train_shows_every_image_once_in_a_new_order_every_epoch() -> None:
    sampler = EpochSampler(size=50, seed=3, shuffle=True)
    orders = [[index for index, _ in epoch_of(sampler, epoch)] for epoch in range(3)]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert orders[0] != orders[1] != orders[2] != list(range(50))
    assert epoch_of(sampler, 1) == epoch_of(EpochSampler(size=50, seed=3, shuffle=True), 1)
    assert epoch_of(sampler, 1) != epoch_of(EpochSampler(size=50, seed=4, shuffle=True), 1)


def test_augmentation_seeds_differ_between_images_epochs_and_seeds() -> None:
    seeds = {augmentation_seed(seed=s, epoch=e, index=i) for s in range(3) for e in range(20) for i in range(100)}
    assert len(seeds) == 3 * 20 * 100
    assert all(seed >= 0 for seed in seeds)
    # Neighbouring images draw independently: the first uniform numbers of consecutive seeds do not correlate.
    first = [np.random.default_rng(augmentation_seed(seed=0, epoch=0, index=i)).random() for i in range(2000)]
    assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 0.08
    assert np.mean(first) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_ranks_share_an_epoch_and_give_an_image_the_same_seed_as_one_device(world_size: int) -> None:
    alone = dict(epoch_of(EpochSampler(size=10, seed=0, shuffle=True), 5))
    ranks = [
        EpochSampler(size=10, seed=0, shuffle=True, rank=rank, world_size=world_size) for rank in range(world_size)
    ]
    shown = [epoch_of(sampler, 5) for sampler in ranks]
    per_rank = -(-10 // world_size)
    assert [len(part) for part in shown] == [len(sampler) for sampler in ranks] == [per_rank] * world_size
    assert all(alone[index] == seed for part in shown for index, seed in part)
    assert {index for part in shown for index, _ in part} == set(range(10))


@pytest.mark.parametrize("world_size", [1, 2, 3, 7, 12])
def test_validation_shows_every_image_exactly_once_over_the_ranks(world_size: int) -> None:
    ranks = [
        EpochSampler(size=7, seed=0, shuffle=False, rank=rank, world_size=world_size) for rank in range(world_size)
    ]
    shown = [index for sampler in ranks for index, _ in epoch_of(sampler, 2)]
    assert sorted(shown) == list(range(7))
    assert [len(sampler) for sampler in ranks] == [len(list(sampler)) for sampler in ranks]


def test_more_ranks_than_training_images_start_again_from_the_front() -> None:
    ranks = [EpochSampler(size=2, seed=0, shuffle=True, rank=rank, world_size=5) for rank in range(5)]
    assert [len(list(sampler)) for sampler in ranks] == [1] * 5


def test_no_images() -> None:
    assert list(EpochSampler(size=0, seed=0, shuffle=True)) == []
    assert list(EpochSampler(size=0, seed=0, shuffle=False)) == []


@pytest.mark.parametrize("wrong", [{"size": -1}, {"seed": -1}, {"rank": 2, "world_size": 2}, {"rank": -1}])
def test_numbers_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="expected"):
        EpochSampler(**{"size": 4, "seed": 0, "shuffle": True, **wrong})


# --- with a Trainer: each epoch's draws, resumed runs included --------------------------------------------------


class Keys(torch.utils.data.Dataset[Tensor]):
    """Hands back what the sampler asked for; a seed that is cut to 31 bits."""

    def __getitem__(self, key: tuple[int, int]) -> Tensor:
        return torch.tensor([key[0], key[1] % 2**31])

    def __len__(self) -> int:
        return 6


class KeyData(LightningDataModule):
    def __init__(self, *, workers: int) -> None:
        super().__init__()
        self.workers = workers

    def loader(self, *, shuffle: bool) -> EpochLoader:
        return EpochLoader(
            Keys(),
            batch_size=2,
            sampler=EpochSampler(size=6, seed=0, shuffle=shuffle),
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
        )

    def train_dataloader(self) -> EpochLoader:
        return self.loader(shuffle=True)

    def val_dataloader(self) -> EpochLoader:
        return self.loader(shuffle=False)


class Recorder(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.seen: dict[int, list[tuple[int, int]]] = {}

    def training_step(self, batch: Tensor, _: int) -> Tensor:
        self.seen.setdefault(self.current_epoch, []).extend((int(a), int(b)) for a, b in batch)
        loss = self.layer(batch[:, :1].float()).sum()
        assert isinstance(loss, Tensor)
        return loss

    def validation_step(self, batch: Tensor, _: int) -> None:
        assert len(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1e-6)


def train(folder: Path, *, epochs: int, workers: int, at_train_end: bool, resume: Path | None = None) -> Recorder:
    recorder = Recorder()
    keep = ModelCheckpoint(folder, save_last=True, save_on_train_epoch_end=at_train_end)
    trainer: Any = Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=[keep],
        logger=False,
        use_distributed_sampler=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*exists and is not empty.*")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        trainer.fit(recorder, KeyData(workers=workers), ckpt_path=resume, weights_only=True)
    return recorder


def expected(epoch: int) -> list[tuple[int, int]]:
    return [(i, s % 2**31) for i, s in epoch_of(EpochSampler(size=6, seed=0, shuffle=True), epoch)]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("at_train_end", [True, False])
def test_a_resumed_run_keeps_the_draws_of_its_epoch(tmp_path: Path, workers: int, at_train_end: bool) -> None:
    first = train(tmp_path, epochs=2, workers=workers, at_train_end=at_train_end)
    assert first.seen == {0: expected(0), 1: expected(1)}
    again = train(tmp_path, epochs=4, workers=workers, at_train_end=at_train_end, resume=tmp_path / "last.ckpt")
    assert again.seen == {2: expected(2), 3: expected(3)}
