"""The parameters of a class or function, read from its source text.

A command checks its options before it does anything. Importing torch, Lightning and albumentations for that takes ten
seconds, in which a slip of the keyboard waits for its answer. So the classes of the packages below are read as text;
those of others, and what the text does not say plainly, are imported.
"""

import ast
import builtins
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import import_module
from typing import Any, Literal, Union

from hydra.utils import get_object

from rsna_det.config.sources import PACKAGES, Definition, UnreadableError, definition, import_path, parent

# Light ones, whose names mean themselves.
_MEANT = ("typing", "typing_extensions", "collections.abc", "pathlib", "datetime", "os")
# What no text on a command line becomes, wherever it is defined.
_NEVER_GIVEN = ("torch.Tensor", "torch.device", "torch.nn.Module")
# Their values are no instances of themselves: only the imported class says what fits.
_STRUCTURAL = ("TypedDict", "NamedTuple", "Protocol", "BaseModel")
_WITHOUT_PARAMETERS = ("ABC", "Generic", "object")


@dataclass(frozen=True)
class Parameter:
    """A parameter of a target.

    Args:
        kind: as :mod:`inspect` has it.
        read: gives the annotation.
    """

    kind: Any
    read: Callable[[], Any]

    @cached_property
    def annotation(self) -> Any:  # noqa: ANN401
        """What may be given; ``inspect.Parameter.empty`` if nothing is said.

        Raises:
            UnreadableError: if the text does not say it plainly.
        """
        return self.read()


def parameters_named(target: str) -> Mapping[str, Parameter | inspect.Parameter]:
    """The parameters of a class or function; a class that hands ``**options`` to its base takes the base's as well.

    Args:
        target: import path.

    Raises:
        ImportError, ValueError, AttributeError, HydraException: there is no such target.
    """
    try:
        return read_parameters(target)
    except UnreadableError:
        return parameters_of(get_object(target))


def annotation_of(target: str, name: str) -> Any:  # noqa: ANN401
    """The annotation of a target's parameter."""
    try:
        return parameters_named(target)[name].annotation
    except UnreadableError:
        return parameters_of(get_object(target))[name].annotation


def parameters_of(target: Callable[..., object]) -> dict[str, inspect.Parameter]:
    """As :func:`parameters_named`, of what is imported."""
    parameters = dict(inspect.signature(target).parameters)
    bases = target.__mro__[1:] if isinstance(target, type) else ()
    for base in bases:
        handed_on = [name for name, p in parameters.items() if p.kind is inspect.Parameter.VAR_KEYWORD]
        if not handed_on or not base.__module__.startswith("rsna_det"):
            break
        del parameters[handed_on[0]]
        parameters |= inspect.signature(base).parameters
    return parameters


@cache
def read_parameters(target: str) -> Mapping[str, Parameter]:
    """As :func:`parameters_named`, from the source alone.

    Raises:
        UnreadableError: if the text does not say it plainly, or there is none.
    """
    if target.partition(".")[0] not in PACKAGES:
        raise UnreadableError(target)
    module, found = definition(*parent(target))
    if isinstance(found, ast.FunctionDef):
        return _of_function(module, found)
    if isinstance(found, ast.ClassDef):
        return _of_class(module, found)
    raise UnreadableError(target)


def _of_class(module: str, found: ast.ClassDef) -> dict[str, Parameter]:
    own = _own_parameters(module, found)
    if own is None:
        return next((parameters for base in _bases(module, found) if (parameters := _of_class(*base))), {})
    handed_on = [name for name, parameter in own.items() if parameter.kind is inspect.Parameter.VAR_KEYWORD]
    base = next(_bases(module, found), None) if handed_on else None
    if base is not None and base[0].startswith("rsna_det"):
        del own[handed_on[0]]
        own |= _of_class(*base)
    return own


def _bases(module: str, found: ast.ClassDef) -> Iterator[tuple[str, ast.ClassDef]]:
    """The base classes that may say what the class takes, each with its module."""
    for node in found.bases:
        if _name_of(node) not in _WITHOUT_PARAMETERS:
            where, base = _definition_of(module, node)
            if isinstance(base, ast.ClassDef):
                yield where, base


def _own_parameters(module: str, found: ast.ClassDef) -> dict[str, Parameter] | None:
    """Of the class itself; None if it leaves them to its bases."""
    methods = {node.name: node for node in found.body if isinstance(node, ast.FunctionDef)}
    if "__new__" in methods or found.keywords:
        raise UnreadableError(found.name)
    if any(_name_of(decorator) == "dataclass" for decorator in found.decorator_list):
        return _of_dataclass(module, found)
    if "__init__" not in methods:
        return None
    parameters = _of_function(module, methods["__init__"])
    del parameters[next(iter(parameters))]
    return parameters


def _of_dataclass(module: str, found: ast.ClassDef) -> dict[str, Parameter]:
    if found.bases:
        raise UnreadableError(found.name)
    kind = inspect.Parameter.KEYWORD_ONLY
    return {
        node.target.id: Parameter(kind, _reader(module, node.annotation))
        for node in found.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and _is_given(node)
    }


def _is_given(node: ast.AnnAssign) -> bool:
    """Whether a field of a dataclass is a parameter."""
    keywords = node.value.keywords if isinstance(node.value, ast.Call) else []
    left_out = any(k.arg == "init" and isinstance(k.value, ast.Constant) and k.value.value is False for k in keywords)
    return not left_out and "ClassVar" not in ast.dump(node.annotation)


def _of_function(module: str, found: ast.FunctionDef) -> dict[str, Parameter]:
    arguments = found.args
    kinds = inspect.Parameter
    groups = [
        (kinds.POSITIONAL_ONLY, arguments.posonlyargs),
        (kinds.POSITIONAL_OR_KEYWORD, arguments.args),
        (kinds.VAR_POSITIONAL, [arguments.vararg] if arguments.vararg else []),
        (kinds.KEYWORD_ONLY, arguments.kwonlyargs),
        (kinds.VAR_KEYWORD, [arguments.kwarg] if arguments.kwarg else []),
    ]
    return {one.arg: Parameter(kind, _reader(module, one.annotation)) for kind, group in groups for one in group}


def _reader(module: str, annotation: ast.expr | None) -> Callable[[], Any]:
    return lambda: inspect.Parameter.empty if annotation is None else _meaning(module, annotation)


def _meaning(module: str, node: ast.expr) -> Any:  # noqa: ANN401
    """The type that an annotation stands for; a class that is never given stands for itself."""
    if isinstance(node, ast.Constant):
        return _meaning(module, _expression(node.value)) if isinstance(node.value, str) else node.value
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return Union[_meaning(module, node.left), _meaning(module, node.right)]  # noqa: UP007
    if isinstance(node, ast.Subscript):
        return _meaning_of_parts(module, node)
    if isinstance(node, ast.List):
        return [_meaning(module, part) for part in node.elts]
    if isinstance(node, ast.Name | ast.Attribute):
        return _meaning_of_name(module, node)
    raise UnreadableError(ast.unparse(node))


def _meaning_of_parts(module: str, node: ast.Subscript) -> Any:  # noqa: ANN401
    outer = _meaning(module, node.value)
    parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    if outer is Literal:
        return Literal[tuple(ast.literal_eval(part) for part in parts)]
    if isinstance(outer, type) and outer.__module__ == __name__:
        # A generic class that is never given, whatever it holds.
        return outer
    inner = [_meaning(module, part) for part in parts]
    try:
        return outer[tuple(inner)] if isinstance(node.slice, ast.Tuple) else outer[inner[0]]
    except TypeError as error:
        raise UnreadableError(ast.unparse(node)) from error


def _meaning_of_name(module: str, node: ast.Name | ast.Attribute) -> Any:  # noqa: ANN401
    name = ast.unparse(node)
    if name in vars(builtins) and isinstance(node, ast.Name):
        return vars(builtins)[name]
    path = import_path(module, name)
    if path in _NEVER_GIVEN:
        return _stand_in(path)
    if parent(path)[0] in _MEANT:
        return getattr(import_module(parent(path)[0]), parent(path)[1])
    where, found = _definition_of(module, node)
    if isinstance(found, ast.ClassDef):
        if found.keywords or any(_name_of(base) in _STRUCTURAL for base in found.bases):
            raise UnreadableError(name)
        return _stand_in(f"{where}.{found.name}")
    if isinstance(found, ast.expr):
        return _meaning(where, found)
    raise UnreadableError(name)


@cache
def _stand_in(path: str) -> type:
    return type(path.rpartition(".")[2], (), {})


def _name_of(node: ast.expr) -> str:
    return ast.unparse(node.func if isinstance(node, ast.Call) else node).partition("[")[0].rpartition(".")[2]


def _expression(text: str) -> ast.expr:
    try:
        return ast.parse(text, mode="eval").body
    except SyntaxError as error:
        raise UnreadableError(text) from error


def _definition_of(module: str, node: ast.expr) -> tuple[str, Definition]:
    name = ast.unparse(node.value if isinstance(node, ast.Subscript) else node)
    path = import_path(module, name)
    if path.partition(".")[0] not in PACKAGES:
        raise UnreadableError(path)
    return definition(*parent(path))
