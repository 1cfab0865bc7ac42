"""Parameters that are read from a source are those that Python finds when it imports it."""

import inspect
import re
import sys
import types
import typing
from typing import Any

import pytest
from hydra.utils import get_object
from pydantic import ConfigDict, TypeAdapter, ValidationError

from rsna_det.config import signatures, sources
from rsna_det.config.compose import CONF
from rsna_det.config.signatures import annotation_of, parameters_named, parameters_of, read_parameters
from rsna_det.config.sources import UnreadableError

IN_CONF = {
    target
    for file in CONF.rglob("*.yaml")
    for target in re.findall(r"_target_:\s*([\w.]+)", file.read_text())
    if not target.startswith("hydra_plugins")
}
OTHERS = {
    *("torch.optim.AdamW", "torch.optim.SGD", "torch.optim.lr_scheduler.StepLR"),
    *(f"pytorch_lightning.callbacks.{name}" for name in ("EarlyStopping", "Timer", "LearningRateMonitor")),
    "pytorch_lightning.loggers.CSVLogger",
}
GIVEN = (0, 1, -1, 2.5, True, None, "auto", "32-true", "x", [1, 2], [0.9, 0.999], ["x"], [], {"a": 1}, {})


@pytest.mark.parametrize("target", sorted(IN_CONF | OTHERS))
def test_a_source_says_what_the_imported_class_says(target: str) -> None:
    read, imported = read_parameters(target), parameters_of(get_object(target))
    assert [*read] == [*imported]
    for name, parameter in imported.items():
        assert read[name].kind == parameter.kind
        annotation = annotation_of(target, name)
        assert shape(annotation) == shape(parameter.annotation)
        for value in GIVEN:
            assert fits(value, parameter.annotation) in (None, fits(value, annotation)), (name, value)


def test_everything_in_conf_is_read_without_importing_it() -> None:
    for target in IN_CONF:
        for parameter in read_parameters(target).values():
            if parameter.kind is not inspect.Parameter.VAR_KEYWORD:
                try:
                    _ = parameter.annotation
                except UnreadableError:
                    assert target.startswith("pytorch_lightning."), target


def test_what_cannot_be_read_is_imported() -> None:
    for target in ("pathlib.Path.home", "collections.Counter", "json.dumps"):
        with pytest.raises(UnreadableError):
            read_parameters(target)
        assert [*parameters_named(target)] == [*parameters_of(get_object(target))]


@pytest.mark.parametrize(
    "target", ["rsna_det.models.encoder.Encodr", "rsna_det.model.encoder.Encoder", "torch.optim.Adom", "nowhere.X"]
)
def test_what_does_not_exist_is_said_by_the_import(target: str) -> None:
    with pytest.raises(Exception, match=target.split(".")[-2] if target != "nowhere.X" else "nowhere"):
        parameters_named(target)


def test_forms_of_a_class(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dataclass, a base with options handed on, aliases, names from elsewhere, and a class that hides all."""
    folder = tmp_path / "pkg_read"
    folder.mkdir()
    (folder / "__init__.py").write_text("from .forms import Child as Renamed\nfrom .forms import Plain\n")
    (folder / "forms.py").write_text(
        "import typing as t\nfrom dataclasses import dataclass, field\nfrom pathlib import Path\n"
        "try:\n    from typing import Literal\nexcept ImportError:\n    pass\n"
        "Kind = Literal['a', 'b']\nclass Own: ...\n"
        "@dataclass(kw_only=True)\nclass Plain:\n    a: int\n    b: 'Kind | None' = None\n"
        "    c: t.ClassVar[int] = 1\n    d: t.Any = field(init=False)\n"
        "    e: list[Path] = field(default_factory=list)\n"
        "class Parent:\n    def __init__(self, x: t.Optional[Own], *args: int, y=1): ...\n"
        "class Child(Parent):\n    pass\n"
        "class Hidden:\n    def __new__(cls, x: int): ...\n"
        "def function(a: int, /, *, b: dict[str, t.Union[int, str]], **rest: object) -> None: ...\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    for module in (signatures, sources):
        monkeypatch.setattr(module, "PACKAGES", ("pkg_read",))
    for target in ("pkg_read.Renamed", "pkg_read.Plain", "pkg_read.forms.function"):
        read = read_parameters(target)
        assert "pkg_read" not in sys.modules
        kinds = {name: (parameter.kind, shape(parameter.annotation)) for name, parameter in read.items()}
        expected = parameters_of(get_object(target))
        hints = {
            name: (p.kind, ("Literal", "None") if p.annotation == "Kind | None" else shape(p.annotation))
            for name, p in expected.items()
        }
        if target == "pkg_read.Plain":
            assert kinds.pop("b")[1] == shape(typing.Optional[typing.Literal["a", "b"]])  # noqa: UP045
            del hints["b"]
        assert kinds == hints
        for name in [name for name in sys.modules if name.partition(".")[0] == "pkg_read"]:
            del sys.modules[name]
    with pytest.raises(UnreadableError):
        read_parameters("pkg_read.forms.Hidden")


def shape(annotation: Any) -> Any:
    """An annotation in which a class is its name: the classes read stand in for those that are imported."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return ("Literal", *parts)
    if origin in (typing.Union, types.UnionType):
        return ("Union", frozenset(shape(part) for part in parts))
    if origin is not None:
        return (origin.__name__, *(shape(part) for part in parts))
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


def fits(value: object, annotation: Any) -> bool | None:
    """Whether a value is of the annotated type; None if pydantic cannot tell."""
    if annotation is inspect.Parameter.empty:
        return None
    try:
        TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True)).validate_python(value, strict=True)
    except ValidationError:
        return False
    except Exception:  # noqa: BLE001  # of many kinds; the check passes these annotations over
        return None
    return True
