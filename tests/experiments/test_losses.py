"""Losses of a study's runs and what its networks cost, against hand-made tables and counts by hand."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from omegaconf import OmegaConf
from PIL import Image
from torch import nn

from experiments import encoders, multitask, resolution
from experiments.reporting.curves import _draw_variant, variant_colours
from experiments.reporting.losses import loss_curves, lowest_epochs, lowest_losses, read_losses
from experiments.reporting.study_report import StudyReport, Variant
from rsna_det.config.compose import build, compose_config
from rsna_det.config.console import set_up
from rsna_det.errors import ConfigError, DataError, MissingFileError
from rsna_det.models.cost import gflops, network_cost
from rsna_det.models.recomputing import telling
from rsna_det.runs.folder import RunFolder
from tests.short_runs import short_run

STUDY = StudyReport(study="study", title="A study", option="seed", baseline="a")
NAMES = ("box_class", "box_regression", "global_class", "loss")

# The validation losses of each epoch, in the order of NAMES.
RUNS = {
    ("a", 0): [[0.5, 0.4, 1.0, 1.0], [0.3, 0.3, 1.1, 0.7], [0.4, 0.2, 1.2, 0.8]],
    ("a", 1): [[0.6, 0.5, 0.9, 1.2], [0.5, 0.2, 0.8, 0.8]],
    ("b", 0): [[0.4, 0.5, 1.1, 1.0], [0.2, 0.4, 0.9, 0.7], [0.2, 0.6, 0.8, 0.9]],
    ("b", 1): [[0.7, 0.1, 1.3, 1.0], [0.8, math.nan, 1.2, 1.1], [0.9, 0.3, 1.4, 1.3]],
}


def made_run(folder: Path, rows: list[list[float]], *overrides: str, columns: tuple[str, ...] = NAMES) -> RunFolder:
    """A run's folder with its configuration and its metrics; training losses are half of those of validation."""
    set_up()
    (folder / ".hydra").mkdir(parents=True)
    OmegaConf.save(compose_config("train", short_run(Path("data"), *overrides)), folder / ".hydra" / "config.yaml")
    table = pd.DataFrame({"epoch": range(len(rows)), "step": range(len(rows))})
    for place, name in enumerate(NAMES):
        if name in columns:
            table[f"val/{name}"] = [row[place] for row in rows]
            table[f"train/{name}"] = [row[place] / 2 for row in rows]
    table.to_csv(folder / "metrics.csv", index=False)
    return RunFolder(folder)


@pytest.fixture
def variants(tmp_path: Path) -> list[Variant]:
    folders = {
        key: made_run(tmp_path / "".join(map(str, key)), rows, f"data.fold={key[1]}") for key, rows in RUNS.items()
    }
    return [Variant(name=name, seeds={0: (folders[name, 0], folders[name, 1])}) for name in ("a", "b")]


def lowest_in_file(path: Path, loss: str) -> tuple[int, float]:
    """Row by row, without pandas: the first of the lowest values, and its epoch."""
    with path.open() as file:
        found = [(float(row[f"val/{loss}"] or "nan"), int(row["epoch"])) for row in csv.DictReader(file)]
    value, epoch = min(pair for pair in found if not math.isnan(pair[0]))
    return epoch, value


def is_picture(path: Path) -> bool:
    pixels = np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3)
    return len(np.unique(pixels, axis=0)) > 50


def test_lowest_epochs_are_those_of_the_files(variants: list[Variant], tmp_path: Path) -> None:
    part = lowest_epochs(STUDY, variants, tmp_path, claim="something (section 4.4).")
    table = part.table
    assert table is not None
    rows = table.set_index(["variant", "loss"])
    titles = {
        "box_class": "box classification",
        "box_regression": "box regression",
        "global_class": "global classification",
    }
    for variant in variants:
        for loss, title in (titles | {"loss": "total"}).items():
            epochs = [lowest_in_file(folder.metrics_file, loss)[0] for folder in variant.seeds[0]]
            row = rows.loc[variant.name, title]
            assert [row["fold 0"], row["fold 1"]] == epochs
            assert row["mean"] == pytest.approx(sum(epochs) / 2)
    # Of a's folds the regression is lowest at 2 and 1, the global class at 0 and 1; of b's at 1 and 0, 2 and 1.
    gap = "gap: box regression minus global classification"
    assert rows.loc[("a", gap), ["fold 0", "fold 1", "mean"]].tolist() == [2, 0, 1]
    assert rows.loc[("b", gap), ["fold 0", "fold 1", "mean"]].tolist() == [-1, -1, -1]
    # Fold 0 of a is lowest at its last epoch of three, fold 1 at its last of two.
    assert rows.loc[("a", "box regression"), "lowest at the last epoch"] == "2 of 2"
    assert "something (section 4.4)" in part.text


def test_lowest_losses_are_compared_with_the_baseline_fold_by_fold(variants: list[Variant], tmp_path: Path) -> None:
    table = lowest_losses(STUDY, variants, tmp_path, claim="").table
    assert table is not None
    assert set(table["loss"]) == {"box classification", "box regression", "global classification"}
    row = table.set_index(["loss", "variant"]).loc[("box regression", "b")]
    own, base = (
        [lowest_in_file(folder.metrics_file, "box_regression")[1] for folder in variant.seeds[0]]
        for variant in (variants[1], variants[0])
    )
    # b: 0.4 and 0.1, a: 0.2 and 0.2.
    assert [row["fold 0"], row["fold 1"]] == own == [0.4, 0.1]
    assert row["difference, fold 0"] == pytest.approx(own[0] - base[0]) == pytest.approx(0.2)
    assert row["difference, fold 1"] == pytest.approx(own[1] - base[1]) == pytest.approx(-0.1)
    assert row["difference, mean"] == pytest.approx(0.05)
    assert row["lower in"] == "1 of 2"


def test_curves_are_means_where_all_folds_have_a_value(variants: list[Variant], tmp_path: Path) -> None:
    losses = read_losses(variants)
    axes = Figure().add_subplot()
    own = losses[(losses["variant"] == "b") & (losses["split"] == "val") & (losses["loss"] == "box_regression")]
    _draw_variant(axes, own, colour=(0.0, 0.0, 0.0, 1.0), label="b")
    thin, mean = axes.lines[:-1], axes.lines[-1]
    assert len(thin) == 2
    # Fold 1 has none at epoch 1.
    np.testing.assert_allclose(np.asarray(mean.get_ydata(), float), [0.3, math.nan, 0.45])
    part = loss_curves(STUDY, variants, tmp_path)
    assert part.figure is not None
    assert is_picture(part.figure)
    assert "box regression loss of fold 0" in part.text
    assert len(set(variant_colours([str(i) for i in range(10)]).values())) == 10


def test_a_run_without_the_global_output_has_no_such_loss(variants: list[Variant], tmp_path: Path) -> None:
    # Its loss is logged as 0 there; another file has no such column at all.
    without = [[row[0], row[1], 0.0, row[3]] for row in RUNS["a", 0]]
    head = made_run(tmp_path / "zero", without, "data.fold=0", "model.global_head=false")
    column = made_run(tmp_path / "none", without, "data.fold=1", columns=("box_class", "box_regression", "loss"))
    both = [Variant(name="False", seeds={0: (head, column)}), Variant(name="True", seeds=variants[0].seeds)]
    table = lowest_losses(multitask.REPORT, both, tmp_path, claim="").table
    assert table is not None
    rows = table.set_index(["loss", "variant"])
    # Neither the missing head nor the missing column has a value.
    assert rows.loc[("global classification", "without global output"), ["fold 0", "fold 1", "mean"]].isna().all()
    assert np.isnan(rows.loc[("global classification", "with global output"), "difference, mean"])
    assert rows.loc[("box regression", "with global output"), "difference, fold 0"] == 0
    for make in multitask.REPORT.parts:
        make(multitask.REPORT, both, tmp_path)
    assert is_picture(tmp_path / "multitask_losses.png")


def test_missing_and_damaged_tables_are_named(variants: list[Variant], tmp_path: Path) -> None:
    path = variants[0].seeds[0][0].metrics_file
    path.write_text("epoch,val/box_class\n0,1.0\n")
    with pytest.raises(DataError, match=r"a0/metrics\.csv is damaged \(it has no column val/box_regression"):
        read_losses(variants)
    path.unlink()
    with pytest.raises(MissingFileError, match=r"a0/metrics\.csv is missing"):
        loss_curves(STUDY, variants, tmp_path)
    with pytest.raises(ConfigError, match="no variant a, the baseline of the others"):
        lowest_losses(STUDY, variants[1:], tmp_path, claim="")


class GreyConvolution(nn.Conv2d):
    """Of uint8 images."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images.float())


class Small(nn.Module):
    """One convolution to 8 channels and a ReLU: everything can be counted by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = GreyConvolution(1, 8, 3, padding=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.encoder(images).relu()


def test_cost_is_what_can_be_counted_by_hand() -> None:
    cost = network_cost(Small, image_size=32)  # type: ignore[arg-type]
    # 3 x 3 weights and a bias of each of 8 channels; 9 multiplications and additions for each of their 32 x 32 values.
    assert cost.model_mparams == cost.encoder_mparams == pytest.approx(8 * 10 / 1e6)
    assert cost.model_gflops == cost.encoder_gflops == pytest.approx(2 * 9 * 8 * 32 * 32 / 1e9)
    # The convolution keeps its input, the ReLU its output, in four bytes each.
    assert cost.activations_mib == pytest.approx((1 + 8) * 32 * 32 * 4 / 2**20)


def test_cost_of_a_network_is_that_of_the_computed_one(variants: list[Variant]) -> None:
    config = OmegaConf.load(variants[0].seeds[0][0].composed_config)
    made = lambda: build(config.model, encoder=build(config.encoder))  # noqa: E731
    cost, network = network_cost(made, image_size=64), made()
    images = torch.zeros(1, 1, 64, 64, dtype=torch.uint8)
    assert cost.model_mparams == pytest.approx(sum(p.numel() for p in network.parameters()) / 1e6)
    assert cost.model_gflops == pytest.approx(gflops(lambda: network(images)))
    own = {p.data_ptr() for p in [*network.parameters(), *network.buffers()]}
    kept: dict[int, torch.Tensor] = {}
    note = lambda t: kept.setdefault(t.untyped_storage().data_ptr(), t)  # noqa: E731
    with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t), telling(note):
        network(images)
    number = sum(t.untyped_storage().nbytes() for pointer, t in kept.items() if pointer not in own)
    assert cost.activations_mib == pytest.approx(number / 2**20, rel=0.01)


def test_encoders_are_set_against_their_cost(tmp_path: Path) -> None:
    names = ("test_efficientnet", "resnet18")
    made = [
        Variant(name=name, seeds={0: tuple(
            made_run(tmp_path / f"{name}{fold}", RUNS[key, fold], f"encoder.name={name}", f"data.fold={fold}")
            for fold in (0, 1)
        )})
        for name, key in zip(names, ("a", "b"), strict=True)
    ]  # fmt: skip
    part = encoders.cost_of_encoders(encoders.REPORT, made, tmp_path)
    assert part.table is not None
    assert part.figure is not None
    rows = part.table.set_index("variant")
    assert rows.loc["test_efficientnet", "lowest box regression loss"] == pytest.approx((0.2 + 0.2) / 2)
    assert rows.loc["resnet18", "lowest box regression loss"] == pytest.approx((0.4 + 0.1) / 2)
    assert rows.loc["resnet18", "encoder parameters (millions)"] == pytest.approx(11.18, abs=0.01)
    assert rows["GFLOPs per image"].is_monotonic_increasing
    assert is_picture(part.figure)


def start(outcome: str, **known: object) -> dict[str, object]:
    """A start of a run as its provenance records it."""
    unknown: dict[str, object] = {"pid": 1, "command": [], "environment": {}, "git": None, "packages": {}}
    text = dict.fromkeys(("started", "host", "system", "python"), "")
    return {**text, **unknown, "outcome": outcome, **known}


def test_resolution_has_measured_seconds_and_counted_cost(tmp_path: Path) -> None:
    made = []
    for side, seconds in ((256, [[10.0, 11.0], [12.0]]), (512, [[40.0, 44.0], [50.0]])):
        folders = [
            made_run(tmp_path / f"{side}{f}", RUNS["a", f], f"data.image_size={side}", f"data.fold={f}") for f in (0, 1)
        ]
        for folder, own in zip(folders, seconds, strict=True):
            device = {"count": 1, "name": "Some GPU"}
            # A start that failed before its first epoch, and one that resumed the run.
            starts = [start("failed"), start("finished", device=device, epoch_seconds=own)]
            record = {"seed": 0, "configuration": "config.yaml", "data": None, "starts": starts}
            folder.provenance_file.write_text(json.dumps(record))
        made.append(Variant(name=str(side), seeds={0: tuple(folders)}))
    table = resolution.cost_of_resolution(resolution.REPORT, made, tmp_path).table
    assert table is not None
    rows = table.set_index("side (px)")
    assert rows["seconds per epoch"].tolist()[:2] == [11.0, 44.0]
    assert np.isnan(rows.loc[1024, "seconds per epoch"])
    assert rows["device"].tolist() == ["1 x Some GPU", "1 x Some GPU", "not trained"]
    assert rows.loc[256, "seconds per epoch, ratio to 512 px"] == pytest.approx(0.25)
    # Convolutions on four times the pixels.
    assert rows.loc[1024, "GFLOPs per image, ratio to 512 px"] == pytest.approx(4, rel=0.02)
    assert rows.loc[1024, "activations (MiB per image), ratio to 512 px"] == pytest.approx(4, rel=0.02)
    made[0].seeds[0][0].provenance_file.write_text("[]")
    with pytest.raises(DataError, match=r"provenance\.json is damaged"):
        resolution.cost_of_resolution(resolution.REPORT, made, tmp_path)
