"""Damage to DICOM files: of the header's numbers, of the codestream, of any byte."""

import io
import struct
import warnings
from collections.abc import Callable

import numpy as np
from pydicom import Dataset, config, dcmread
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import (
    JPEG2000,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    RLELossless,
)

_SYNTAXES = (
    JPEG2000,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    RLELossless,
)
_NUMBERS = (
    *("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel"),
    *("PlanarConfiguration", "PixelPaddingValue", "PixelPaddingRangeLimit"),
)
_WORDS = (0, 1, 2, 3, 7, 8, 9, 12, 15, 16, 32, 47, 48, 63, 64, 65, 255, 1000, 4095, 32767, 32768, 65535)
_DECIMALS = ("WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept")
_TEXTS = ("nan", "inf", "-inf", "0", "-1", "1e-300", "1e300", "1e999", "", "12\\\\34", "1,5", "x")
_CODES = {
    "PhotometricInterpretation": ("MONOCHROME1", "MONOCHROME2", "RGB", "YBR_FULL_422", "PALETTE COLOR", ""),
    "PresentationLUTShape": ("INVERSE", "IDENTITY", "OTHER"),
    "VOILUTFunction": ("LINEAR", "LINEAR_EXACT", "SIGMOID", "CUBIC"),
    "NumberOfFrames": ("0", "1", "2", "-1", "99999999"),
}

Mutation = Callable[[bytes, np.random.Generator], bytes]


def mutate(content: bytes, rng: np.random.Generator) -> tuple[bytes, list[str]]:
    """Damage a file one to three times; also the names of what was done."""
    names = []
    for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
        names.append(str(rng.choice(list(MUTATIONS))))
        content = MUTATIONS[names[-1]](content, rng)
    return content, names


def _of_data_set(change: Callable[[Dataset, np.random.Generator], None]) -> Mutation:
    """A change of the parsed file; a file that no longer parses, or cannot be written so, stays as it is."""

    def mutation(content: bytes, rng: np.random.Generator) -> bytes:
        written = io.BytesIO()
        with config.disable_value_validation(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                dataset = dcmread(io.BytesIO(content), force=True)
                change(dataset, rng)
                dataset.save_as(written, enforce_file_format=False)
            except Exception:  # noqa: BLE001 (whatever pydicom says of the damage that was done before)
                return content
        return written.getvalue()

    return mutation


def _number(dataset: Dataset, rng: np.random.Generator) -> None:
    dataset.add_new(str(rng.choice(_NUMBERS)), "US", int(rng.choice(_WORDS)))


def _decimal(dataset: Dataset, rng: np.random.Generator) -> None:
    # As bytes, since pydicom writes no such numbers.
    dataset.add_new(str(rng.choice(_DECIMALS)), "UN", str(rng.choice(_TEXTS)).encode())


def _code(dataset: Dataset, rng: np.random.Generator) -> None:
    name = str(rng.choice(list(_CODES)))
    setattr(dataset, name, str(rng.choice(_CODES[name])))


def _descriptor(dataset: Dataset, rng: np.random.Generator) -> None:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [int(value) for value in rng.choice(_WORDS, 3)])
    item.add_new("LUTData", "OW", rng.bytes(2 * int(rng.choice(_WORDS))))
    setattr(dataset, str(rng.choice(["VOILUTSequence", "ModalityLUTSequence"])), [item])


def _swap(dataset: Dataset, _: np.random.Generator) -> None:
    dataset.Rows, dataset.Columns = dataset.Columns, dataset.Rows


def _forget(dataset: Dataset, rng: np.random.Generator) -> None:
    elements = list(dataset.keys())
    del dataset[elements[int(rng.integers(len(elements)))]]


def _syntax(dataset: Dataset, rng: np.random.Generator) -> None:
    dataset.file_meta.TransferSyntaxUID = _SYNTAXES[int(rng.integers(len(_SYNTAXES)))]


def _cut_frame(dataset: Dataset, rng: np.random.Generator) -> None:
    """A codestream that ends too early, with the marker that ends it."""
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
        kept = frame[: int(rng.integers(len(frame)))]
        dataset.PixelData = encapsulate([kept + (b"\xff\xd9" if frame[:1] in (b"\xff", b"\0") else b"")])
    else:
        dataset.PixelData = dataset.PixelData[: int(rng.integers(len(dataset.PixelData)))]


def _damage_frame(dataset: Dataset, rng: np.random.Generator) -> None:
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
        dataset.PixelData = encapsulate([_BYTES[str(rng.choice(list(_BYTES)))](frame, rng)])


def _flip_bits(content: bytes, rng: np.random.Generator) -> bytes:
    damaged = bytearray(content)
    for place in rng.integers(len(damaged), size=int(rng.choice([1, 2, 8, 64]))) if damaged else ():
        damaged[place] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


def _cut(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: int(rng.integers(len(content) + 1))]


def _overwrite(content: bytes, rng: np.random.Generator) -> bytes:
    place, value = int(rng.integers(len(content) + 1)), int(rng.choice([0, 1, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1]))
    number = struct.pack(str(rng.choice(["<I", ">I"])), value)
    return content[:place] + number + content[place + 4 :]


def _remove(content: bytes, rng: np.random.Generator) -> bytes:
    place, length = int(rng.integers(len(content) + 1)), int(rng.choice([1, 2, 7, 200]))
    return content[:place] + content[place + length :]


def _repeat(content: bytes, rng: np.random.Generator) -> bytes:
    place, length = int(rng.integers(len(content) + 1)), int(rng.choice([1, 2, 7, 200]))
    return content[: place + length] + content[place:]


_BYTES: dict[str, Mutation] = {
    "flip bits": _flip_bits,
    "cut": _cut,
    "overwrite": _overwrite,
    "remove": _remove,
    "repeat": _repeat,
}
MUTATIONS: dict[str, Mutation] = {
    **_BYTES,
    "no preamble": lambda content, _: content[132:],
    "number": _of_data_set(_number),
    "decimal": _of_data_set(_decimal),
    "code": _of_data_set(_code),
    "descriptor": _of_data_set(_descriptor),
    "swap": _of_data_set(_swap),
    "forget": _of_data_set(_forget),
    "syntax": _of_data_set(_syntax),
    "cut frame": _of_data_set(_cut_frame),
    "damage frame": _of_data_set(_damage_frame),
}
"""What a mutation is called -> does it."""
