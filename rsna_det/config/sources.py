"""Where the text of an installed package defines a name; nothing is imported for it."""

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias

PACKAGES = ("rsna_det", "pytorch_lightning", "lightning_fabric", "torch")
"""Packages whose sources are read."""

_DEEPEST = 20

Definition: TypeAlias = ast.ClassDef | ast.FunctionDef | ast.expr


class UnreadableError(Exception):
    """A text that does not say something plainly."""


def parent(path: str) -> tuple[str, str]:
    """An import path's module and the name in it."""
    module, _, name = path.rpartition(".")
    return module, name


def import_path(module: str, name: str) -> str:
    """Where the text of a module takes a dotted name from; the module itself if it imports it from nowhere."""
    first, _, rest = name.partition(".")
    path = _imports(module).get(first, f"{module}.{first}")
    return f"{path}.{rest}" if rest else path


def definition(module: str, name: str, depth: int = 0) -> tuple[str, Definition]:
    """The module that defines a name, through all that only hand it on, and the statement there.

    Raises:
        UnreadableError: if there is no plain one.
    """
    if depth > _DEEPEST:
        raise UnreadableError(f"{module}.{name}")
    found = _definitions(module).get(name)
    if found is not None:
        return module, found
    path = _imports(module).get(name)
    if path is None or path.partition(".")[0] not in PACKAGES:
        raise UnreadableError(f"{module}.{name}")
    return definition(*parent(path), depth + 1)


@cache
def _definitions(module: str) -> Mapping[str, Definition]:
    """Classes, functions and aliases of a module by name; the last of several counts."""
    found: dict[str, Definition] = {}
    for node in _statements(_tree(module).body):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            found[node.target.id] = node.value
    return found


@cache
def _imports(module: str) -> Mapping[str, str]:
    """Import path of each name that a module takes from another."""
    found: dict[str, str] = {}
    for node in _statements(_tree(module).body):
        if isinstance(node, ast.Import):
            # `import a.b` binds `a`.
            found |= {one.asname or one.name.partition(".")[0]: _bound(one) for one in node.names}
        elif isinstance(node, ast.ImportFrom):
            origin = _absolute(module, node)
            found |= {one.asname or one.name: f"{origin}.{one.name}" for one in node.names}
    return found


def _bound(one: ast.alias) -> str:
    return one.name if one.asname else one.name.partition(".")[0]


def _absolute(module: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    above = module.split(".")
    dropped = node.level - (_file(module).name == "__init__.py")
    return ".".join([*above[: len(above) - dropped], *([node.module] if node.module else [])])


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements at the top of a module, and within its conditions."""
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.Try):
            yield from _statements([*node.body, *node.orelse])


@cache
def _tree(module: str) -> ast.Module:
    try:
        return ast.parse(_file(module).read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError) as error:
        raise UnreadableError(module) from error


@cache
def _file(module: str) -> Path:
    """The source of a module, found without importing the packages that it is in."""
    top, *below = module.split(".")
    spec = find_spec(top) if top else None
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        path = Path(folder, *below)
        for file in (path / "__init__.py", path.with_suffix(".py")):
            if file.is_file():
                return file
    raise UnreadableError(module)
