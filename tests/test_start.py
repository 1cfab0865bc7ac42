"""Whoever asks for help or mistypes an option does not wait for torch, Lightning and the like: seconds of imports."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.short_runs import environment

HEAVY = {
    *("torch", "torchvision", "timm", "pytorch_lightning", "lightning_fabric", "torchmetrics", "wandb"),
    *("wandb_workspaces", "albumentations", "cv2", "numpy", "pandas", "pyarrow", "scipy", "sklearn", "matplotlib"),
    *("pydicom", "PIL", "faster_coco_eval", "jinja2"),
}
SCRIPT = """
import json, runpy, sys
module, *arguments = sys.argv[1:]
sys.argv = [module, *arguments]
try:
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    status = 0
except SystemExit as ended:
    status = ended.code
print(json.dumps([str(status), sorted(sys.modules)]), file=sys.stderr)
"""
STUDY = ["-m", "+sweep=augmentations", "data.root=."]

ASKED = {
    **{f"{name} --help": [f"rsna_det.{name}", "--help"] for name in ("train", "prepare", "predict", "evaluate")},
    **{f"rsna-det {name} -h": ["rsna_det.cli", name, "-h"] for name in ("train", "predict", "studies")},
    **{f"{name} --cfg": [f"rsna_det.{name}", "--cfg", "job"] for name in ("train", "prepare", "predict", "evaluate")},
}
"""What ends well."""

MISTYPED = {
    "an option of training": (["rsna_det.train", "trainer.max_epoch=3"], "trainer.max_epoch"),
    "a choice": (["rsna_det.train", "encoder=resnet51"], "resnet51"),
    "a type": (["rsna_det.train", "data.root=.", "trainer.max_epochs=many"], "trainer.max_epochs is 'many'"),
    "types of several classes": (
        ["rsna_det.train", "data.root=.", "optimizer.optimizer.lr=high", "model.width=x", "augmentation.draws=even"],
        "augmentation.draws is 'even'",
    ),
    "what a class does not take": (["rsna_det.train", "data.root=.", "+data.folds=3"], "data.folds is not an option"),
    "a value that is missing": (["rsna_det.train"], "data.root is not set"),
    "a study": (["rsna_det.train", "-m", "+sweep=augmentation"], "there is no study augmentation"),
    "an option of a study": (["rsna_det.train", *STUDY, "trainer.max_epoch=3"], "trainer.max_epoch"),
    "a type in a study": (["rsna_det.train", *STUDY, "data.fold=x"], "data.fold is 'x'"),
    "a study to list": (["rsna_det.studies", "augmentation"], "name one study"),
    "an option of predict": (["rsna_det.predict", "checkpoint=a"], "checkpoint"),
    "a type in predict": (["rsna_det.predict", "checkpoints=a", "images=b", "cut=high"], "cut is 'high'"),
    "nothing to evaluate": (["rsna_det.evaluate"], "give either runs="),
    "an option of evaluate": (["rsna_det.evaluate", "rums=a"], "rums"),
    "an option of prepare": (["rsna_det.prepare", "data.rooot=a"], "data.rooot"),
    "a type in prepare": (["rsna_det.prepare", "data.root=.", "data.image_size=big"], "data.image_size is 'big'"),
}
"""Command lines that are refused, and what is said of each."""


def answer(arguments: list[str], folder: Path) -> tuple[str, str, set[str]]:
    """Exit status, standard output, and the modules that were imported."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments],
        env=environment(),
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    status, modules = json.loads(done.stderr.strip().splitlines()[-1])
    return status, done.stdout, set(modules)


@pytest.mark.parametrize("name", ASKED)
def test_what_is_asked_is_answered_without_heavy_imports(name: str, tmp_path: Path) -> None:
    status, said, modules = answer(ASKED[name], tmp_path)
    assert status in ("0", "None")
    assert len(said.splitlines()) > 10
    assert not HEAVY & modules
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", MISTYPED)
def test_a_slip_is_answered_without_heavy_imports(name: str, tmp_path: Path) -> None:
    arguments, expected = MISTYPED[name]
    status, _, modules = answer(arguments, tmp_path)
    assert status.startswith("error: ")
    assert expected in status
    assert not HEAVY & modules
    assert not list(tmp_path.iterdir())


def test_several_slips_are_named_together(tmp_path: Path) -> None:
    status, _, _ = answer(MISTYPED["types of several classes"][0], tmp_path)
    assert [line.split(" is ")[0].removeprefix("error: ") for line in status.splitlines()] == [
        "augmentation.draws",
        "model.width",
        "optimizer.optimizer.lr",
    ]
