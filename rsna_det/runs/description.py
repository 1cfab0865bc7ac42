"""What a checkpoint says of its network: a fixed table of what it may build, and the numbers to build it with.

A checkpoint is data. Its description names three classes of this package and their arguments: plain numbers, words and
flat lists, each within a range, checked before anything is built. No other name in it is ever imported, no path in it
opened, nothing fetched. The network is first laid out without memory and compared with the tensors that are there.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from rsna_det.boxes.decoding import DecodingSettings
from rsna_det.config.memory import lack_of_memory
from rsna_det.config.plain import Arguments, Either, Flag, Kind, Number, Numbers, Word, shown_value
from rsna_det.config.targets import todays_target
from rsna_det.errors import DataError, ResourceError
from rsna_det.evaluation.operating_point import LARGEST_SIDE
from rsna_det.models.encoder import Encoder
from rsna_det.models.retinanet import MultiTaskRetinaNet

_SHARE = Number(low=0, high=1)
SIDE = Number(low=1, high=LARGEST_SIDE, whole=True)
"""Of a square network image, network pixels."""
_PAIR = Either(kinds=(SIDE, Numbers(each=SIDE, shortest=2, longest=2)))

# Arguments of timm's create_model that change a network's layers; those that name files and addresses are not here.
BACKBONE_OPTIONS = Arguments(
    required={},
    optional={
        **dict.fromkeys(("img_size", "window_size", "patch_size"), _PAIR),
        **dict.fromkeys(("output_stride", "window_ratio", "in_chans", "base_width", "cardinality"), SIDE),
        **dict.fromkeys(("strict_img_size", "dynamic_img_size", "dynamic_img_pad", "always_partition"), Flag()),
        **dict.fromkeys(("drop_rate", "drop_path_rate", "attn_drop_rate", "proj_drop_rate"), _SHARE),
        **dict.fromkeys(("act_layer", "norm_layer", "aa_layer", "global_pool"), Word()),
    },
    nothing=True,
)
_FLAG = Flag()

_TIMES_WEIGHTS = 4
# Bytes: masks and indices of windows, which checkpoints leave out, grow with the image and not with the weights.
_ALLOWANCE = 2**30

_NO_NETWORK = (
    *(TypeError, ValueError, AssertionError, LookupError, AttributeError, RuntimeError, ArithmeticError),
    MemoryError,
)


@dataclass(frozen=True, kw_only=True)
class _Recipe:
    """A class that a checkpoint may build, with the arguments that it may give."""

    target: str
    required: Mapping[str, Kind]
    optional: Mapping[str, Kind] = field(default_factory=dict)

    def problems(self, node: object, where: str) -> Iterator[str]:
        if type(node) is not dict:
            yield f"{where} is {shown_value(node)}; expected the arguments of {self.target}"
            return
        target = node.get("_target_")
        if type(target) is not str or todays_target(target) != self.target:
            called = target[:100] if type(target) is str else shown_value(target)
            yield f"{where}: it would call {called}, not {self.target}"
            return
        own = {name: value for name, value in node.items() if name != "_target_"}
        yield from Arguments(required=self.required, optional=self.optional).problems(own, where)


_ENCODER = _Recipe(
    target="rsna_det.models.encoder.Encoder",
    required={"name": Word(), "normalise": _FLAG, "freeze_statistics": Flag(optional=True)},
    # A run notes false and null; whatever a file says here is not used.
    optional={
        "pretrained": Flag(optional=True),
        "weights": Either(kinds=(Flag(optional=True), Word(pattern=r"[^\0]{0,4096}"))),
        "options": BACKBONE_OPTIONS,
    },
)
_MODEL = _Recipe(
    target="rsna_det.models.retinanet.MultiTaskRetinaNet",
    required={
        "width": Number(low=1, high=4096, whole=True),
        "levels": Numbers(each=Number(low=2, high=7, whole=True), shortest=1, longest=6),
        "dropout_global": _SHARE,
        "dropout_box": _SHARE,
        "global_head": _FLAG,
    },
)
_DECODING = _Recipe(
    target="rsna_det.boxes.decoding.DecodingSettings",
    required={
        **dict.fromkeys(("score_floor", "nms_iou", "relative_cut", "cut"), _SHARE),
        "max_candidates": Number(low=1, high=10**7, whole=True),
        "cut_grid": Numbers(each=_SHARE, shortest=3, longest=3),
    },
)
_WHOLE = Arguments(
    required={
        "name": Word(pattern=r".{0,1000}", expected="up to 1000 printable characters"),
        "fold": Number(low=0, high=10**6, whole=True),
        "image_size": SIDE,
    }
)


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a run notes in its checkpoints, checked.

    Attributes:
        name: of the experiment.
        fold: that the run validated on.
        image_size: side of the square images it was trained on, network pixels.
        encoder: arguments of :class:`~rsna_det.models.encoder.Encoder`.
        model: arguments of :class:`~rsna_det.models.retinanet.MultiTaskRetinaNet`, but for the encoder.
        decoding: from scored anchors to detections.
    """

    name: str
    fold: int
    image_size: int
    encoder: Mapping[str, Any]
    model: Mapping[str, Any]
    decoding: DecodingSettings


def read_description(found: object) -> Description:
    """The description in a checkpoint.

    Raises:
        DataError: for anything but the known names with plain values in their ranges; saying what.
    """
    if type(found) is not dict:
        raise DataError(f"its description is {shown_value(found)}")
    parts = {"encoder": _ENCODER, "model": _MODEL, "decoding": _DECODING}
    rest = {name: value for name, value in found.items() if name not in parts}
    problems = [*_WHOLE.problems(rest, "")]
    for name, recipe in parts.items():
        problems += recipe.problems(found[name], name) if name in found else [f"it lacks {name}"]
    if problems:
        raise DataError("; ".join(problems[:5]))
    return Description(
        **rest,
        encoder={**_arguments(found["encoder"]), "pretrained": False, "weights": None},
        model=_arguments(found["model"]),
        decoding=read_decoding(found["decoding"]),
    )


def read_decoding(found: object, *, where: str = "decoding") -> DecodingSettings:
    """The decoding settings that a checkpoint or a saved configuration holds.

    Args:
        found: plain values with ``_target_``.
        where: name of the values, in the error.

    Raises:
        DataError: for anything but the known names with numbers in their ranges; saying what.
    """
    problems = list(_DECODING.problems(found, where))
    if problems or not isinstance(found, dict):
        raise DataError("; ".join(problems))
    try:
        return DecodingSettings(**_arguments(found))
    except ValueError as error:
        raise DataError(str(error)) from error


def build_network(
    *, encoder: Mapping[str, Any], model: Mapping[str, Any], weights: Mapping[str, Tensor]
) -> MultiTaskRetinaNet:
    """The network of a description with its weights, on the CPU.

    Args:
        encoder: of a :class:`Description`.
        model: likewise.
        weights: by name, of plain finite tensors.

    Raises:
        DataError: if the description describes no network, one whose weights have other names or shapes, or one that
            would take far more memory than its weights.
        ResourceError: if this machine's memory is too small for it.
    """
    # Nothing is allocated until names and shapes are known to be those of tensors that are there.
    with torch.device("meta"):
        outline = _assembled(encoder, model)
    _compare(outline.state_dict(), weights)
    _check_size(outline, weights)
    network = _assembled(encoder, model)
    network.load_state_dict(dict(weights))
    return network


def _assembled(encoder: Mapping[str, Any], model: Mapping[str, Any]) -> MultiTaskRetinaNet:
    try:
        return MultiTaskRetinaNet(encoder=Encoder(**encoder), **model)
    # Whatever timm and torch raise on numbers that do not go together: all of them are the file's.
    except _NO_NETWORK as error:
        place = lack_of_memory(error)
        if place is not None:
            raise ResourceError(f"{place} has too little memory for its network: close other programs") from error
        raise DataError(f"it is that of no network: {error}") from error


def _check_size(outline: MultiTaskRetinaNet, weights: Mapping[str, Tensor]) -> None:
    """Refuse tables that no checkpoint holds and that a few numbers of its description make as large as they like."""
    needed = _bytes([*outline.parameters(), *outline.buffers()])
    most = _TIMES_WEIGHTS * _bytes(weights.values()) + _ALLOWANCE
    if needed > most:
        raise DataError(
            f"its network would take {needed / 2**30:,.1f} GiB, expected up to {most / 2**30:,.1f} GiB of "
            "such weights: its encoder's options are those of no network that was trained"
        )


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _compare(outline: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> None:
    lacking, unknown = outline.keys() - weights.keys(), weights.keys() - outline.keys()
    other = [name for name in outline.keys() & weights.keys() if outline[name].shape != weights[name].shape]
    wrong = [
        *(f"{name} is missing" for name in sorted(lacking)[:2]),
        *(f"{name} is not of this network" for name in sorted(unknown)[:2]),
        *(f"{n} is {list(weights[n].shape)}, expected {list(outline[n].shape)}" for n in sorted(other)[:2]),
    ]
    if wrong:
        count = len(lacking) + len(unknown) + len(other)
        raise DataError(f"{count} tensors differ: {'; '.join(wrong)}")


def _arguments(node: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in node.items() if name != "_target_"}
