"""Damage to a file of a few kilobytes: bytes that change or are missing, and values of other types."""

import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

Change = Callable[[random.Random, bytes], bytes]
STRANGE: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        2**63,
        10**30,
        -(10**400),
        0.5,
        -0.0,
        1e308,
        float("nan"),
        float("inf"),
        -float("inf"),
    ),
    *(
        "",
        "text",
        "nan",
        "-1",
        "=1+1",
        "../../etc/passwd",
        "a" * 5000,
        "\u0000",
        "\ud7ff\u2028",
        "${oc.env:HOME}",
        "os.system",
    ),
    *([], {}, [[]], [None], {"": None}, {"_target_": "os.system"}, [1, [2, [3]]], {"a": {"b": {"c": []}}}),
)
"""Values for the place of others."""


def flip_bits(chance: random.Random, content: bytes) -> bytes:
    """A few bits."""
    damaged = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 8)) if damaged else 0):
        damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def truncate(chance: random.Random, content: bytes) -> bytes:
    """The end is missing; sometimes all of it."""
    return content[: chance.choice((0, chance.randrange(len(content) + 1)))]


def overwrite(chance: random.Random, content: bytes) -> bytes:
    """Some bytes are others: zeros, as after a crash, or anything."""
    start, length = chance.randrange(len(content) + 1), chance.choice((1, 4, 64, 512))
    filling = chance.choice((bytes(length), chance.randbytes(length), b"\xff" * length))
    return content[:start] + filling + content[start + length :]


def repeat(chance: random.Random, content: bytes) -> bytes:
    """A part occurs twice, or one is missing."""
    start, end = sorted(chance.randrange(len(content) + 1) for _ in range(2))
    return content[:end] + content[start:] if chance.random() < 0.5 else content[:start] + content[end:]


def replace_all(chance: random.Random, content: bytes) -> bytes:
    """Another file altogether."""
    nested = chance.choice((b"[" * 100_000, b"{" * 5000, b'{"a":' * 50_000, b"- " * 3000))
    others = (b"", b"\x00" * 100, b"\xff\xfe", b"null", b"[]", b"{}", b"1", b'"a"', b"\xef\xbb\xbf" + content, nested)
    return chance.choice(
        (*others, b"a: &x [1]\nb: *x\n", b"a: 2026-13-45\n", b"a: !!float x\n", b"1" * 10_000, b"PAR1")
    )


BYTES: tuple[Change, ...] = (flip_bits, flip_bits, truncate, overwrite, repeat, replace_all)


def change_values(chance: random.Random, plain: Any) -> Any:
    """One or two values of other types, keys that are missing, keys that nobody knows."""
    changed = copy.deepcopy(plain)
    for _ in range(chance.choice((1, 1, 2))):
        node, key = _somewhere(chance, changed)
        if node is None:
            return copy.deepcopy(chance.choice(STRANGE))
        kind = chance.random()
        if kind < 0.15:
            del node[key]
        elif kind < 0.25 and isinstance(node, dict):
            node[chance.choice(("more", "", "_target_", "epochs"))] = copy.deepcopy(chance.choice(STRANGE))
        else:
            node[key] = copy.deepcopy(chance.choice(STRANGE))
    return changed


def as_json(plain: Any) -> bytes:
    """Values that JSON does not have are written as Python's own module does."""
    return json.dumps(plain).encode(errors="replace")


def as_yaml(plain: Any) -> bytes:
    """As this package writes YAML."""
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True).encode(errors="replace")


def change_cells(chance: random.Random, content: bytes) -> bytes:
    """A cell of a CSV file, its heading, a row or a column."""
    rows = [line.split(",") for line in content.decode().splitlines()]
    row = chance.randrange(len(rows))
    column = chance.randrange(len(rows[row]))
    kind = chance.random()
    if kind < 0.6:
        rows[row][column] = str(chance.choice((*STRANGE, "1e5", '"', "1,2", "0x1", "1_0", "\r")))
    elif kind < 0.7:
        del rows[row]
    elif kind < 0.8:
        rows.append(list(rows[row]))
    else:
        rows = [[*cells[:column], *cells[column + 1 :]] for cells in rows]
    return "\n".join(",".join(cells) for cells in rows).encode(errors="replace")


def in_its_place(path: Path, kind: str) -> None:
    """Something that is no file."""
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "link to nowhere":
        path.symlink_to(path.with_name("nowhere"))
    elif kind == "link to itself":
        path.symlink_to(path)


def _somewhere(chance: random.Random, plain: Any) -> tuple[Any, Any]:
    """A container and one of its keys, at any depth; None where there is no container."""
    node, key = None, None
    at = plain
    while isinstance(at, dict | list) and at:
        node, key = at, chance.choice([*at] if isinstance(at, dict) else range(len(at)))
        at = node[key]
        if chance.random() < 0.3:
            break
    return node, key
