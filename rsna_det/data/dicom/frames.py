"""The pixel data of a DICOM file -> the words of its single frame, which must be what the header says.

pydicom takes uncompressed and RLE data apart. Of compressed ones it would believe the header; here the codestream's own
size, components and precision are compared with it first. libjpeg fills in what a damaged JPEG lacks and only warns:
simplejpeg turns these warnings into errors. OpenJPEG refuses data that break off inside a tile, but not a codestream
without a tile: that all are there is checked first.
"""

import io
import re
import struct
import warnings

import numpy as np
import simplejpeg
from jaxtyping import Integer
from PIL import Image
from pydicom import Dataset
from pydicom.encaps import generate_fragments, get_frame, parse_basic_offsets
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    RLELossless,
)

from rsna_det.data.dicom.jpeg2000_tiles import check_tiles
from rsna_det.data.dicom.jpeg_markers import Codestream, read_header
from rsna_det.data.dicom.problems import FrameError
from rsna_det.data.dicom.rle_rows import check_rows

_NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
_JPEG = (JPEGBaseline8Bit, JPEGExtended12Bit)
_JPEG2000 = (JPEG2000, JPEG2000Lossless)
READABLE = (*_NATIVE, RLELossless, *_JPEG, *_JPEG2000)
"""Transfer syntaxes that can be decoded."""

# pydicom would mask by BitsStored alone, which HighBit may contradict.
_AS_STORED = {"correct_unused_bits": False}
_JPEG_START = b"\xff\xd8\xff"
_JPEG2000_START = b"\xff\x4f\xff\x51"
# The header, and a byte for each of 15 segments that makes its length even.
_RLE_HEADER = 64 + 15
# pydicom's words for RLE segments that are longer than the image.
_EXCESS = re.compile(r"RLE segment .* (\d+) vs\. (\d+) bytes")


def decode_frame(dataset: Dataset, syntax: UID) -> Integer[np.ndarray, "height width *channels"]:
    """The words of the file's single frame: [height, width], or [height, width, 3] if it is stored as colour.

    Raises:
        FrameError: the frame is damaged, incomplete, or not what the header says; besides whatever the decoders raise
            for damaged ones.
    """
    words = _words(dataset, syntax)
    size = (int(dataset.Rows), int(dataset.Columns))
    if words.shape not in (size, (*size, 3)):
        raise FrameError(f"pixel data of shape {words.shape} where the header says {size}")
    return words


def _words(dataset: Dataset, syntax: UID) -> np.ndarray:
    if syntax in _NATIVE:
        return _native(dataset)
    if syntax == RLELossless:
        return _rle(dataset)
    if syntax in _JPEG:
        return _jpeg(_compressed(dataset, start=_JPEG_START), dataset)
    return _jpeg2000(_compressed(dataset, start=_JPEG2000_START), dataset)


def _native(dataset: Dataset) -> np.ndarray:
    """Uncompressed words; more of them than the image has may follow only if they are zeros."""
    samples = 2 if str(dataset.PhotometricInterpretation) == "YBR_FULL_422" else int(dataset.SamplesPerPixel)
    expected = int(dataset.Rows) * int(dataset.Columns) * samples * (int(dataset.BitsAllocated) // 8)
    # One byte makes an odd length even, and some writers fill up a block.
    pixels = bytes(dataset.PixelData or b"")
    excess = pixels[expected:]
    if len(excess) > 1 and (len(excess) >= expected or any(excess)):
        raise FrameError(f"{len(pixels)} bytes of pixels; the shape in the header takes {expected}")
    dataset.pixel_array_options(decoding_plugin="", **_AS_STORED)
    return np.asarray(dataset.pixel_array)


def _rle(dataset: Dataset) -> np.ndarray:
    fragments = _fragments(dataset)
    if len(fragments) != 1:
        raise FrameError(f"{len(fragments)} frames in its pixel data where the header says 1")
    expected = int(dataset.Rows) * int(dataset.Columns) * int(dataset.SamplesPerPixel) * int(dataset.BitsAllocated) // 8
    # A row of one pixel takes two bytes, and nothing takes more; what is longer unpacks to up to 64 times its length.
    if len(fragments[0]) > 2 * expected + _RLE_HEADER:
        raise FrameError(f"{len(fragments[0])} bytes of RLE for {expected} bytes of pixels")
    check_rows(fragments[0], rows=int(dataset.Rows), columns=int(dataset.Columns))
    dataset.pixel_array_options(decoding_plugin="pydicom", **_AS_STORED)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        words = np.asarray(dataset.pixel_array)
    for text in (str(warning.message) for warning in caught):
        found = _EXCESS.search(text)
        # Some writers fill a segment of odd length up.
        if found and int(found[1]) > int(found[2]) + 1:
            raise FrameError(f"RLE segments of {found[1]} bytes where the header says {found[2]}")
    return words


def _fragments(dataset: Dataset) -> list[bytes]:
    stream = io.BytesIO(dataset.PixelData)
    parse_basic_offsets(stream)
    return list(generate_fragments(stream))


def _compressed(dataset: Dataset, *, start: bytes) -> bytes:
    """The codestream of the single frame, without the file format that some writers wrap around it."""
    frames = sum(start in fragment[: _longest_wrapper(start)] for fragment in _fragments(dataset))
    if frames > 1:
        raise FrameError(f"{frames} frames in its pixel data where the header says 1")
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    begin = frame.find(start)
    if begin < 0:
        raise FrameError("no codestream of the kind that the transfer syntax names")
    return frame[begin:]


def _longest_wrapper(start: bytes) -> int:
    """Bytes of a fragment in which a frame's codestream begins: boxes of JPEG 2000's file format come before it."""
    return 256 if start == _JPEG2000_START else len(start)


def _jpeg(frame: bytes, dataset: Dataset) -> np.ndarray:
    header = read_header(frame)
    _check(header, dataset)
    grey = header.components == 1
    pixels: np.ndarray = simplejpeg.decode_jpeg(frame, colorspace="GRAY" if grey else "RGB", strict=True)
    if grey:
        return pixels[..., 0]
    with Image.open(io.BytesIO(frame), formats=("JPEG",)) as image:
        if str(dataset.PhotometricInterpretation) == "RGB" and "adobe_transform" not in image.info:
            # Without Adobe's mark libjpeg takes three components for YCbCr, where the header knows better.
            image.draft("YCbCr", image.size)
        return np.asarray(image)


def _jpeg2000(frame: bytes, dataset: Dataset) -> np.ndarray:
    codestream = _size_of_jpeg2000(frame)
    _check(codestream, dataset)
    check_tiles(frame)
    with Image.open(io.BytesIO(frame), formats=("JPEG2000",)) as image:
        words = np.asarray(image)
    # Pillow scales to all bits of its type, and makes signed values unsigned.
    words = words >> (8 * words.dtype.itemsize - codestream.bits)
    return words.astype(np.int32) - (1 << (codestream.bits - 1)) if codestream.signed else words


def _size_of_jpeg2000(frame: bytes) -> Codestream:
    """From the SIZ marker segment (ISO/IEC 15444-1, A.5.1)."""
    right, bottom, left, top = struct.unpack_from(">4I", frame, 8)
    (components,) = struct.unpack_from(">H", frame, 40)
    depths = {frame[42 + 3 * number] for number in range(components)}
    if len(depths) != 1:
        raise FrameError(f"a JPEG 2000 frame of {components} components with {len(depths)} kinds of values")
    depth = depths.pop()
    return Codestream(
        height=bottom - top, width=right - left, components=components, bits=(depth & 0x7F) + 1, signed=depth > 0x7F
    )


def _check(frame: Codestream, dataset: Dataset) -> None:
    """Compare a codestream with the header.

    More bits than are stored are allowed: overlays lie there.
    """
    bits, allocated = int(dataset.BitsStored), int(dataset.BitsAllocated)
    if (frame.height, frame.width) != (int(dataset.Rows), int(dataset.Columns)):
        size = f"{dataset.Rows} rows and {dataset.Columns} columns"
        raise FrameError(f"a frame of {frame.height} rows and {frame.width} columns where the header says {size}")
    if frame.components != int(dataset.SamplesPerPixel):
        raise FrameError(f"{frame.components} components where the header says {dataset.SamplesPerPixel}")
    if not bits <= frame.bits <= allocated or (frame.components > 1 and frame.bits > 8):
        raise FrameError(f"a frame of {frame.bits} bits where the header says {bits} bits in {allocated}")
