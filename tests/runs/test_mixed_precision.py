"""Mixed precision: the network in half the bits; losses, last layers, boxes and scores in float32."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import Tensor

from rsna_det.config.devices import check_accelerator
from rsna_det.errors import ConfigError
from rsna_det.predict.detector import Detector
from rsna_det.runs.resume import saved_run
from rsna_det.runs.session import run
from rsna_det.training.losses import MultiTaskLoss
from rsna_det.training.module import DetectorModule
from tests.models.build import build_model, grey_images, wake
from tests.short_runs import TRAINING_WARNINGS, options_of

pytestmark = TRAINING_WARNINGS

MIXED = "trainer.precision=bf16-mixed"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_last_layers_compute_in_float32(dtype: torch.dtype) -> None:
    model = build_model()
    wake(model)
    seen: dict[str, torch.dtype] = {}
    heads = {"class": model.box_class_head.last, "box": model.box_regression_head.last}
    assert model.global_head is not None
    for name, layer in {**heads, "global": model.global_head.linear}.items():
        layer.register_forward_hook(
            lambda _, given, made, name=name: seen.update({name: given[0].dtype, f"{name} out": made.dtype})
        )
    tower = []
    model.box_class_head.tower[-1].register_forward_hook(lambda *parts: tower.append(parts[2].dtype))
    with torch.autocast("cpu", dtype=dtype):
        outputs = model(grey_images(side=64))
    outputs.box_deltas.at(image=torch.tensor([0]), anchor=torch.tensor([3]))
    assert set(tower) == {dtype}, "the rest is in half the bits"
    assert set(seen.values()) == {torch.float32}
    assert len(seen) == 6


def test_outputs_are_nearer_than_with_last_layers_in_bfloat16() -> None:
    """What rounding the logits alone would do: 8 bits of a logit of -4.6 are 0.016 apart."""
    torch.manual_seed(0)
    model = build_model().eval()
    wake(model)
    images = grey_images(side=128, batch=2)
    with torch.no_grad():
        exact: Tensor = model(images).box_logits
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed: Tensor = model(images).box_logits
    rounded = exact.bfloat16().float()
    assert (mixed - exact).square().mean().sqrt() < (rounded - exact).square().mean().sqrt()


def test_a_mixed_run_trains_validates_resumes_and_predicts(
    synthetic_root: Path, tmp_path: Path, trained_folds: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.dtype] = []
    weigh = MultiTaskLoss.__call__

    def noted(self: MultiTaskLoss, losses: object) -> Tensor:
        seen.extend(getattr(losses, name).dtype for name in self.weights)
        return weigh(self, losses)  # type: ignore[arg-type]

    monkeypatch.setattr(MultiTaskLoss, "__call__", noted)
    mixed, whole = tmp_path / "interrupted", tmp_path / "whole"
    run(options_of(synthetic_root, whole, MIXED, "trainer.max_epochs=2"))
    assert set(seen) == {torch.float32}

    validation = DetectorModule.on_validation_start

    def interrupted(self: DetectorModule) -> None:
        if self.current_epoch == 1:
            raise RuntimeError("the run was stopped")
        validation(self)

    options = options_of(synthetic_root, mixed, MIXED, "trainer.max_epochs=2")
    with monkeypatch.context() as patched:
        patched.setattr(DetectorModule, "on_validation_start", interrupted)
        with pytest.raises(RuntimeError, match="the run was stopped"):
            run(options)
    run(saved_run([f"resume={mixed}"]), checkpoint=mixed / "checkpoints" / "last.ckpt")
    assert (mixed / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()

    exact = pd.read_csv(trained_folds[0] / "metrics.csv")
    found = pd.read_csv(whole / "metrics.csv")
    assert exact["val/map_best"].min() > 0, "the test is worth nothing if nothing was found"
    assert found["train/loss"].to_numpy() == pytest.approx(exact["train/loss"].to_numpy(), rel=0.02)
    assert found["val/loss"].to_numpy() == pytest.approx(exact["val/loss"].to_numpy(), rel=0.02)
    assert found["val/map_best"].to_numpy() == pytest.approx(exact["val/map_best"].to_numpy(), abs=0.05)

    image = next((synthetic_root / "stage_2_train_images").iterdir())
    assert Detector.from_checkpoints(whole / "checkpoints" / "last.ckpt", device="cpu", cut=0.005)(image) is not None


@pytest.mark.parametrize("precision", ["16-mixed", 16, "16"])
@pytest.mark.parametrize("accelerator", ["cpu", "auto"])
def test_float16_on_a_cpu_names_what_to_set(
    accelerator: str, precision: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"trainer.precision is 16.*on the CPU.*set trainer.precision=bf16-mixed"):
        check_accelerator({"accelerator": accelerator, "precision": precision})
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    check_accelerator({"accelerator": "auto", "precision": precision})
    check_accelerator({"accelerator": "cpu", "precision": "bf16-mixed"})
