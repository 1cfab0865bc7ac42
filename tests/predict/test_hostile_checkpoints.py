"""A checkpoint is data: whatever it says, nothing of it runs, no file is opened, no memory is eaten."""

import math
import os
import pickle
import resource
import socket
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from rsna_det.errors import DataError, ResourceError
from rsna_det.files.seal import seal
from rsna_det.models.encoder import Encoder
from rsna_det.models.retinanet import MultiTaskRetinaNet
from rsna_det.predict.members import Member, load_model, read_member
from rsna_det.runs.description import build_network
from rsna_det.training.checkpoint_io import AtomicCheckpointIO, read_checkpoint
from tests.checkpoints import module_of, write_checkpoint

ENCODER = "rsna_det.models.encoder.Encoder"
MODEL = "rsna_det.models.retinanet.MultiTaskRetinaNet"


def description(**changes: dict[str, Any]) -> dict[str, Any]:
    """A good description with changes of its parts' values."""
    plain = module_of().description
    return {name: dict(plain[name]) | changed for name, changed in changes.items()}


def nested(depth: int) -> Any:
    found: Any = []
    for _ in range(depth):
        found = [found]
    return found


def holding_itself() -> dict[str, Any]:
    found: dict[str, Any] = {}
    found["options"] = found
    return found


HOSTILE: dict[str, dict[str, Any]] = {
    "another target": {"model": {"_target_": "os.system", "command": "touch ran"}},
    "a module that the package imports": {"decoding": {"_target_": "rsna_det.evaluation.tables.pd.read_pickle"}},
    "one that is allowed elsewhere": {"decoding": {"_target_": ENCODER}},
    "a target in place of an argument": {"encoder": {"name": {"_target_": "os.getcwd"}}},
    "a target in a tuple": {"model": {"levels": ({"_target_": "os.getcwd"},)}},
    "a target in a list": {"model": {"levels": [{"_target_": "os.getcwd"}]}},
    "a target in the options": {"encoder": {"options": {"img_size": {"_target_": "os.getcwd"}}}},
    "a target that is no text": {"encoder": {"_target_": ["rsna_det", "models"]}},
    "a target with spaces": {"encoder": {"_target_": f"{ENCODER} "}},
    "a partial": {"decoding": {"_partial_": True}},
    "positional arguments": {"model": {"_args_": ["touch ran"]}},
    "Hydra's recursion": {"model": {"_recursive_": True}},
    "Hydra's conversion": {"encoder": {"_convert_": "object"}},
    "an interpolation": {"encoder": {"name": "${oc.env:HOME}"}},
    "a resolver": {"encoder": {"options": {"act_layer": "${oc.decode:1}"}}},
    "a tuple of levels": {"model": {"levels": (3, 4, 5, 6, 7)}},
    "an ordered mapping": {"encoder": OrderedDict(module_of().description["encoder"]) | {"more": 1}},
    "a name on the hub": {"encoder": {"name": "hf-hub:somebody/network"}},
    "a local folder": {"encoder": {"name": "local-dir:/etc"}},
    "a path as name": {"encoder": {"name": "../../etc/passwd"}},
    "a path in the options": {"encoder": {"options": {"checkpoint_path": "/etc/passwd"}}},
    "a pre-trained configuration": {"encoder": {"options": {"pretrained_cfg": {"url": "http://localhost/x"}}}},
    "its own weights": {"encoder": {"options": {"pretrained": True}}},
    "an address in the options": {"encoder": {"options": {"act_layer": "http://localhost/x"}}},
    "an unknown argument": {"model": {"hook": 1}},
    "a huge width": {"model": {"width": 10**9}},
    "a width that does not fit": {"model": {"width": 4096}},
    "an endless whole number": {"model": {"width": 10**5000}},
    "a huge picture": {"encoder": {"options": {"img_size": 10**9}}},
    "a huge list": {"model": {"levels": [2] * 1_000_000}},
    "a flag for a number": {"model": {"width": True}},
    "a number for a flag": {"model": {"global_head": 1}},
    "not a number": {"decoding": {"cut": math.nan}},
    "an infinite share": {"model": {"dropout_box": math.inf}},
    "not a number in a list": {"decoding": {"cut_grid": [0.1, math.nan, 0.1]}},
    "a grid of thresholds without end": {"decoding": {"cut_grid": [0.0, 0.9, 1e-12]}},
    "bytes": {"encoder": {"name": b"resnet34"}},
    "a set": {"model": {"levels": {3, 4}}},
    "lists in lists": {"model": {"levels": nested(200)}},
    "a mapping that holds itself": {"encoder": holding_itself()},
    "keys that are no text": {"decoding": {1: 2}},
    "a tensor for a number": {"model": {"width": torch.tensor(16)}},
}

WHOLE: dict[str, dict[str, Any]] = {
    "no mapping": {"encoder": "rsna_det.models.encoder.Encoder"},
    "no decoding": {"decoding": None},
    "a huge image": {"image_size": 10**9},
    "an image of no size": {"image_size": 0},
    "a negative fold": {"fold": -1},
    "a name that is no text": {"name": {"_target_": "os.getcwd"}},
    "a name without end": {"name": "a" * 10**6},
    "a name that moves the cursor": {"name": "\x1b[2Jname"},
    "another part": {"callbacks": {"_target_": "os.getcwd"}},
}


@pytest.fixture(autouse=True)
def nothing_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No command, no network, no file of another folder, no gigabytes."""
    happened: list[str] = []

    def noticed(name: str) -> Callable[..., None]:
        return lambda *arguments, **_: happened.append(f"{name}{arguments[:1]}")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(socket.socket, "connect", noticed("connect"))
    monkeypatch.setattr(timm.models._builder, "load_pretrained", noticed("load_pretrained"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert not happened
    assert not (tmp_path / "ran").exists()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 500_000, f"{grown} KiB"


def loaded(path: Path) -> tuple[Member, torch.nn.Module]:
    member = read_member(path)
    return member, load_model(member)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_description_is_refused_by_name(name: str, tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "best.ckpt", **description(**HOSTILE[name]))
    with pytest.raises(DataError, match=r"best\.ckpt") as refused:
        loaded(path)
    assert len(str(refused.value)) < 1500


@pytest.mark.parametrize("name", WHOLE)
def test_a_hostile_value_is_refused_by_name(name: str, tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "best.ckpt", **WHOLE[name])
    with pytest.raises(DataError, match=r"best\.ckpt is not a checkpoint that rsna_det\.train wrote \("):
        loaded(path)


@pytest.mark.parametrize(
    "epoch", [-1, True, "3", None, 10**30, 1.0, [3]], ids=lambda epoch: f"{type(epoch).__name__}-{epoch}"
)
def test_an_epoch_is_a_whole_number(epoch: object, tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "best.ckpt", epoch=epoch)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"best\.ckpt is not a checkpoint.*\(epoch is "):
        read_member(path)


def test_pretrained_and_weights_are_never_used(tmp_path: Path) -> None:
    secret = tmp_path / "secret.pth"
    secret.write_text("not to be opened")
    changed = {"pretrained": True, "weights": str(secret)}
    member, model = loaded(write_checkpoint(tmp_path / "best.ckpt", **description(encoder=changed)))
    assert (member.encoder["pretrained"], member.encoder["weights"]) == (False, None)
    name = "pyramid.laterals.0.weight"
    assert torch.equal(model.state_dict()[name], module_of().model.state_dict()[name])


def test_options_that_a_run_may_have_are_kept(tmp_path: Path) -> None:
    changed = description(encoder={"options": {"drop_path_rate": 0.1}})
    member, _ = loaded(write_checkpoint(tmp_path / "best.ckpt", **changed))
    assert member.encoder["options"] == {"drop_path_rate": 0.1}


class Command:
    """What a pickle runs when it is read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch ran",)


class Fat:
    """What takes memory that the file does not have."""

    def __reduce__(self) -> tuple[Any, ...]:
        return bytearray, (10**11,)


SWIN = {"name": "swin_tiny_patch4_window7_224", "pretrained": False, "weights": None, "normalise": True}
SMALL = {"width": 16, "levels": [3, 4, 5], "dropout_global": 0.0, "dropout_box": 0.0, "global_head": True}


def outlined(side: int, window: int) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """An encoder, and weights that fit it."""
    encoder = SWIN | {"freeze_statistics": False, "options": {"img_size": [side, side], "window_size": window}}
    with torch.device("meta"):
        outline = MultiTaskRetinaNet(encoder=Encoder(**encoder), **SMALL).state_dict()
    return encoder, {name: torch.zeros(value.shape, dtype=value.dtype) for name, value in outline.items()}


def test_tables_that_no_checkpoint_holds_have_a_bound() -> None:
    """Of windows of 64 x 64 positions, 25 GB beside 120 MB of weights."""
    encoder, weights = outlined(4096, 64)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match=r"its network would take \d\d\.\d GiB, expected up to 1\.\d GiB"):
        build_network(encoder=encoder, model=SMALL, weights=weights)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20
    encoder, weights = outlined(256, 8)
    assert build_network(encoder=encoder, model=SMALL, weights=weights).state_dict().keys() == weights.keys()


def test_too_little_memory_is_not_the_files_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, weights = outlined(256, 8)
    for error in (MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")):

        def lacking(*, error: Exception = error, **_: object) -> None:
            raise error

        monkeypatch.setattr("rsna_det.runs.description.Encoder", lacking)
        with pytest.raises(ResourceError, match="this machine has too little memory for its network"):
            build_network(encoder=encoder, model=SMALL, weights=weights)


@pytest.mark.parametrize("hidden", [Command(), Fat(), Path("x"), {"a": [Command()]}, torch.nn.Linear(1, 1), slice(1)])
def test_objects_are_refused(hidden: object, tmp_path: Path) -> None:
    path = tmp_path / "best.ckpt"
    torch.save({"epoch": 1, "state_dict": {}, "rsna_det": hidden}, path)
    with pytest.raises(DataError, match=r"best\.ckpt holds Python objects .*could run code.*was not opened"):
        read_member(path)


def test_a_bare_pickle_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "best.ckpt"
    path.write_bytes(pickle.dumps(Command()))
    with pytest.raises(DataError, match=r"best\.ckpt is not a checkpoint"):
        read_member(path)


def test_lists_a_hundred_thousand_deep(tmp_path: Path) -> None:
    path, depth = tmp_path / "best.ckpt", 100_000
    torch.save({}, path)

    def deep(old: zipfile.ZipFile, new: zipfile.ZipFile) -> None:
        new.compression = zipfile.ZIP_STORED
        for name in old.namelist():
            pickled = b"\x80\x02" + b"]" * depth + b"a" * (depth - 1) + b"."
            new.writestr(name, pickled if name.endswith("data.pkl") else old.read(name))

    with pytest.raises(DataError, match=r"changed\.ckpt is not a checkpoint: it holds a list"):
        read_member(rewritten(path, deep))


def rewritten(path: Path, change: Callable[[zipfile.ZipFile, zipfile.ZipFile], None]) -> Path:
    other = path.with_name("changed.ckpt")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(other, "w", zipfile.ZIP_DEFLATED) as new:
        change(old, new)
    return other


def test_a_zip_bomb_is_not_inflated(tmp_path: Path) -> None:
    def bomb(old: zipfile.ZipFile, new: zipfile.ZipFile) -> None:
        for name in old.namelist():
            new.writestr(name, old.read(name))
        new.writestr("best/data/999", bytes(300 * 2**20))

    path = rewritten(write_checkpoint(tmp_path / "best.ckpt"), bomb)
    assert path.stat().st_size < 10 * 2**20
    with pytest.raises(DataError, match=r"changed\.ckpt is damaged \(it holds compressed records"):
        read_member(path)


def test_an_archive_of_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "best.ckpt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../escaped", "text")
    with pytest.raises(DataError, match=r"best\.ckpt is damaged \(expected one data\.pkl"):
        read_member(path)
    assert not (tmp_path.parent.parent / "escaped").exists()


def test_two_records_of_one_name(tmp_path: Path) -> None:
    def twice(old: zipfile.ZipFile, new: zipfile.ZipFile) -> None:
        new.compression = zipfile.ZIP_STORED
        for name in (*old.namelist(), old.namelist()[0]):
            new.writestr(name, old.read(name))

    with pytest.warns(UserWarning, match="Duplicate name"):
        path = rewritten(write_checkpoint(tmp_path / "best.ckpt"), twice)
    with pytest.raises(DataError, match="two of its records have one name"):
        read_member(path)


def with_state(path: Path, **changed: object) -> Path:
    content = read_checkpoint(write_checkpoint(path))
    path.unlink()
    torch.save(content | {"state_dict": content["state_dict"] | changed}, path)
    return path


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.zeros(1).expand(10**9, 1, 1, 1), "its weights are larger than the file"),
        (torch.zeros(16, 16, 1, 1), "do not fit"),
        (torch.zeros(1).to_sparse(), "holds Python objects|is no plain tensor"),
        ("text", r"pyramid\.laterals\.0\.weight is no plain tensor"),
        (torch.zeros(1, dtype=torch.complex64), "is no plain tensor"),
    ],
)
def test_tensors_that_are_none(value: object, message: str, tmp_path: Path) -> None:
    path = with_state(tmp_path / "best.ckpt", **{"model.pyramid.laterals.0.weight": value})
    with pytest.raises(DataError, match=rf"best\.ckpt.*({message})"):
        loaded(path)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_that_are_not_finite_are_named(value: float, tmp_path: Path) -> None:
    name = "model.pyramid.laterals.0.bias"
    weights = torch.zeros_like(module_of().state_dict()[name])
    weights[1] = value
    path = with_state(tmp_path / "last.ckpt", **{name: weights})
    message = r"last\.ckpt: the weights model\.pyramid\.laterals\.0\.bias hold NaN or infinity.*use another checkpoint"
    with pytest.raises(DataError, match=message):
        read_member(path)
    with pytest.raises(DataError, match=message):
        AtomicCheckpointIO().load_checkpoint(path)


@pytest.mark.parametrize("place", ["checkpoints/../../precious", "../precious.ckpt"])
def test_a_path_in_a_checkpoint_does_not_lead_upwards(place: str, tmp_path: Path) -> None:
    content = read_checkpoint(write_checkpoint(tmp_path / "last.ckpt"))
    for state in ({"best_model_path": place}, {"best_k_models": {place: 0.5}}):
        path = tmp_path / "changed.ckpt"
        torch.save(content | {"callbacks": {"ModelCheckpoint{}": state}}, path)
        with pytest.raises(DataError, match=r"changed\.ckpt names a file elsewhere"):
            AtomicCheckpointIO().load_checkpoint(path)


def test_a_good_one_is_read_with_its_digest_and_without(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "best.ckpt")
    member, _ = loaded(path)
    seal(path)
    sealed, _ = loaded(path)
    assert sealed == member
