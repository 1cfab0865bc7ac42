"""Rules of the house that no linter of its own keeps; who may import whom is `make lint`'s."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "rsna_det"
MODULES = sorted(PACKAGE.rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Top-level names of the packages that a module imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


def importers(name: str) -> list[str]:
    return [path.relative_to(PACKAGE).as_posix() for path in MODULES if name in imported(path)]


@pytest.mark.parametrize(
    ("library", "home"),
    [
        ("albumentations", ["data/augmentation/transforms.py"]),
        ("wandb", ["runs/tracking.py"]),
        ("wandb_workspaces", ["dashboard.py"]),
        (
            "pydicom",
            [
                *(
                    f"data/dicom/{name}.py"
                    for name in ("display", "frames", "header", "opening", "presentation", "problems", "reading")
                ),
                "data/synthetic/dicom_file.py",
            ],
        ),
        ("simplejpeg", ["data/dicom/frames.py"]),
        (
            "pickle",
            ["models/weights.py", "training/checkpoint_io.py"],
        ),  # for the error that torch raises on a file it refuses
    ],
)
def test_a_library_has_one_home(library: str, home: list[str]) -> None:
    assert importers(library) == home


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_files_stay_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 300


def test_weights_are_never_read_by_unpickling() -> None:
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                assert any(k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in node.keywords), path
