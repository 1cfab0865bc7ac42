"""Files without their first part, files that would take all memory, and errors that are the machine's."""

import errno
import logging
import os
import resource
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    RLELossless,
)

from rsna_det.data.dicom import reading
from rsna_det.data.dicom.limits import Limits
from rsna_det.data.dicom.opening import BoundedFile
from rsna_det.data.dicom.reading import DicomError, find_dicoms, read_radiograph, read_size
from tests.data.dicom.files import compressed, smooth, write

BARE = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]


def without_meta(path: Path, *, preamble: bool) -> Path:
    """Only the data set is left, or with an empty preamble and the mark before it."""
    raw = path.read_bytes()
    (length,) = struct.unpack_from("<I", raw, 140)
    path.write_bytes((raw[:132] if preamble else b"") + raw[144 + length :])
    return path


@pytest.mark.parametrize("syntax", BARE, ids=lambda syntax: syntax.name)
@pytest.mark.parametrize("preamble", [True, False])
def test_a_data_set_alone_is_read_with_a_warning(
    tmp_path: Path, syntax: UID, preamble: bool, caplog: pytest.LogCaptureFixture
) -> None:
    path = without_meta(write(tmp_path / "a.dcm", smooth(), syntax=syntax), preamble=preamble)
    assert np.array_equal(read_radiograph(path), smooth())
    assert read_size(path) == (24, 40)
    assert caplog.messages == [f"{path} names no transfer syntax: read as {syntax.name}"]


@pytest.mark.parametrize("syntax", BARE, ids=lambda syntax: syntax.name)
def test_a_missing_transfer_syntax_is_found_out(tmp_path: Path, syntax: UID, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "a.dcm", smooth(), syntax=syntax)
    raw = path.read_bytes()
    element = struct.pack("<HH2sH", 2, 0x10, b"UI", len(syntax) + len(syntax) % 2)
    begin = raw.index(element)
    (length,) = struct.unpack_from("<I", raw, 140)
    taken = len(element) + len(syntax) + len(syntax) % 2
    path.write_bytes(raw[:140] + struct.pack("<I", length - taken) + raw[144:begin] + raw[begin + taken :])
    assert np.array_equal(read_radiograph(path), smooth())
    assert "names no transfer syntax" in caplog.text


def test_compressed_pixels_without_a_syntax_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", smooth(), syntax=JPEGBaseline8Bit, encoded=compressed(smooth(), "JPEG"))
    with pytest.raises(DicomError, match="compressed pixels, but no TransferSyntaxUID that says how"):
        read_radiograph(without_meta(path, preamble=False))


@pytest.mark.parametrize("text", ["hello", "\0" * 500, "<html>" * 200, "\x28\0\x10\0US\x02\0" * 40])
def test_what_does_not_parse_is_no_dicom(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.dcm").write_text(text)
    for read in (read_radiograph, read_size):
        with pytest.raises(DicomError, match=r"a\.dcm: "):
            read(tmp_path / "a.dcm")


def peak_of(path: Path) -> int:
    """MiB that a process of its own takes at most to read the file, which it refuses."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            read_radiograph(path)
        except DicomError:
            os.write(writer, b"refused")
        os._exit(0)
    os.close(writer)
    _, _, usage = os.wait4(child, 0)
    assert os.read(reader, 100) == b"refused"
    os.close(reader)
    return usage.ru_maxrss // 1024


def own_peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def test_a_huge_size_in_the_header_takes_no_memory(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", smooth(), syntax=RLELossless)
    dataset = dcmread(path)
    dataset.Rows = dataset.Columns = 65535
    dataset.save_as(path)
    with pytest.raises(
        DicomError, match=r"65535 rows and 65535 columns.*more than 67108864 pixels; raise reading\.max"
    ):
        read_radiograph(path)
    with pytest.raises(DicomError, match="more than 67108864 pixels"):
        read_size(path)
    assert peak_of(path) < own_peak() + 100


@pytest.mark.parametrize(
    "tags", [{"Rows": 65535, "Columns": 1}, {"NumberOfFrames": 300_000}, {"SamplesPerPixel": 65535, "Rows": 500}]
)
def test_the_square_the_frames_and_the_samples_count(tmp_path: Path, tags: dict[str, int]) -> None:
    path = write(tmp_path / "a.dcm", smooth(), **tags)
    with pytest.raises(DicomError, match="more than 67108864 pixels"):
        read_radiograph(path)


def test_the_bound_on_pixels_is_an_option(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", smooth())
    # The square around 24 x 40 has 1600.
    assert np.array_equal(read_radiograph(path, limits=Limits(max_pixels=1600)), smooth())
    with pytest.raises(DicomError, match="more than 1599 pixels"):
        read_radiograph(path, limits=Limits(max_pixels=1599))


def deflated(path: Path, *, size: int, before: bytes = b"") -> Path:
    """A data set of zeros that inflates to ``size`` bytes; ``before`` is put before the file meta group's syntax."""
    write(path, smooth(), syntax=DeflatedExplicitVRLittleEndian)
    raw = path.read_bytes()
    (length,) = struct.unpack_from("<I", raw, 140)
    syntax = raw.index(struct.pack("<HH2s", 2, 0x10, b"UI"))
    raw, length = raw[:syntax] + before + raw[syntax:], length + len(before)
    raw = raw[:140] + struct.pack("<I", length) + raw[144:]
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    zeros = b"".join(compressor.compress(bytes(2**20)) for _ in range(size // 2**20)) + compressor.flush()
    path.write_bytes(raw[: 144 + length] + zeros)
    return path


def test_a_deflated_file_is_inflated_within_its_limit(tmp_path: Path) -> None:
    path = deflated(tmp_path / "a.dcm", size=2**28)
    assert path.stat().st_size < 300_000
    with pytest.raises(DicomError, match=r"inflates to more than 300000 bytes; raise reading\.max_bytes"):
        read_radiograph(path, limits=Limits(max_bytes=300_000))
    with pytest.raises(DicomError, match="inflates to more than 67108864 bytes"):
        read_size(path, limits=Limits(max_bytes=2**26))


@pytest.mark.parametrize("length", [5_000, 60_000])
def test_a_long_file_meta_group_does_not_hide_that_a_file_is_deflated(tmp_path: Path, length: int) -> None:
    before = struct.pack("<HH2sH", 2, 2, b"UI", length) + b"1" * length
    path = deflated(tmp_path / "a.dcm", size=2**28, before=before)
    with pytest.raises(DicomError, match="inflates to more than 67108864 bytes"):
        read_radiograph(path, limits=Limits(max_bytes=2**26))
    # Without the limit that is given, its own: the 256 MiB are taken once, and not three times.
    path = deflated(tmp_path / "b.dcm", size=2**29, before=before)
    assert peak_of(path) < own_peak() + 256 + 150


def test_a_deflated_file_with_a_long_file_meta_group_is_read(tmp_path: Path) -> None:
    raw = write(tmp_path / "a.dcm", smooth(), syntax=DeflatedExplicitVRLittleEndian).read_bytes()
    (length,) = struct.unpack_from("<I", raw, 140)
    before = struct.pack("<HH2sHI", 2, 1, b"OB", 0, 300_000) + bytes(300_000)
    raw = raw[:140] + struct.pack("<I", length + len(before)) + before + raw[144:]
    (tmp_path / "a.dcm").write_bytes(raw)
    assert np.array_equal(read_radiograph(tmp_path / "a.dcm"), smooth())
    (tmp_path / "a.dcm").write_bytes(raw[:-50])
    with pytest.raises(DicomError, match="its deflated data break off"):
        read_radiograph(tmp_path / "a.dcm")


def test_a_file_beyond_the_limit_is_not_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", smooth())
    size = path.stat().st_size
    with path.open("r+b") as stream:
        stream.truncate(2**40)
    with pytest.raises(DicomError, match=rf"a file of {2**40} bytes; at most 268435456 are read"):
        read_radiograph(path)
    os.truncate(path, size)
    assert np.array_equal(read_radiograph(path), smooth())


def test_rle_that_unpacks_to_much_more_than_the_image_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", smooth(), syntax=RLELossless)
    dataset = dcmread(path)
    # A run of 128 zeros in two bytes, half a million times: 64 MB of a 960-pixel image.
    dataset.PixelData = encapsulate([struct.pack("<16I", 1, 64, *[0] * 14) + b"\x81\0" * 500_000])
    dataset.save_as(path)
    with pytest.raises(DicomError, match="1000064 bytes of RLE for 960 bytes of pixels"):
        read_radiograph(path)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            PermissionError(errno.EACCES, "Permission denied"),
            r"it cannot be read \(Permission denied\); check its perm",
        ),
        (OSError(errno.EMFILE, "Too many open files"), r"Too many open files\); raise the limit of open files"),
        (OSError(errno.ENFILE, "Too many open files in system"), r"open files in system\); raise the limit"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), r"memory ran out\); close other programs, or use fewer work"),
        (OSError(errno.EIO, "Input/output error"), r"Input/output error\); check the disk"),
        (OSError(errno.ESTALE, "Stale file handle"), r"Stale file handle\); check the disk"),
        (MemoryError(), r"memory ran out\); close other programs"),
    ],
)
@pytest.mark.parametrize("place", ["dcmread", "decode_frame"])
def test_the_machines_errors_are_not_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, message: str, place: str
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    path = write(tmp_path / "a.dcm", smooth())
    monkeypatch.setattr(reading, place, fails)
    with pytest.raises(DicomError, match=rf"a\.dcm: .*{message}") as caught:
        read_radiograph(path)
    assert "not a DICOM" not in str(caught.value)
    assert "decoded" not in str(caught.value)


def test_memory_that_runs_out_in_the_display_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise MemoryError

    path = write(tmp_path / "a.dcm", smooth())
    monkeypatch.setattr(reading, "to_display", fails)
    with pytest.raises(DicomError, match=r"a\.dcm: it cannot be read \(memory ran out\)"):
        read_radiograph(path)


def test_open_files_that_run_out_are_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", smooth())
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        with pytest.raises(DicomError, match=r"Too many open files\); raise the limit of open files \(`ulimit -n`\)"):
            read_radiograph(path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.dcm")
    (tmp_path / "broken.dcm").symlink_to(tmp_path / "gone")
    (tmp_path / "circle.dcm").symlink_to(tmp_path / "circle.dcm")
    for name, message in [("pipe", "a device or a pipe"), ("broken", "a link to a file that is not there"),
                          ("circle", "links lead in a circle")]:  # fmt: skip
        for read in (read_radiograph, read_size):
            with pytest.raises(DicomError, match=rf"{name}\.dcm: .*{message}"):
                read(tmp_path / f"{name}.dcm")


def test_a_name_that_is_not_utf8_is_shown_escaped(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/r\xf6ntgen\n.dcm"))
    with pytest.raises(DicomError, match=r"r\\udcf6ntgen\\n\.dcm: there is no such file") as caught:
        read_radiograph(path)
    assert str(caught.value).encode("utf-8")
    write(path, smooth())
    assert np.array_equal(read_radiograph(path), smooth())


def test_a_link_to_nothing_among_training_images_is_named(tmp_path: Path) -> None:
    write(tmp_path / "a.dcm", smooth())
    (tmp_path / "b.dcm").symlink_to(tmp_path / "a.dcm")
    assert list(find_dicoms(tmp_path)) == ["a", "b"]
    (tmp_path / "c.dcm").symlink_to(tmp_path / "gone.dcm")
    with pytest.raises(DicomError, match=r"c\.dcm: a link to a file that is not there; restore"):
        find_dicoms(tmp_path)


def test_warnings_are_of_this_package(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = without_meta(write(tmp_path / "a.dcm", smooth()), preamble=False)
    with caplog.at_level(logging.WARNING):
        read_radiograph(path)
    assert {record.name for record in caplog.records} == {"rsna_det.data.dicom.opening"}


def test_a_damaged_length_takes_no_memory(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", smooth())
    raw = path.read_bytes()
    at = raw.index(struct.pack("<HH2s", 0x7FE0, 0x0010, b"OB"))
    path.write_bytes(raw[: at + 8] + struct.pack("<I", 0xF0000000) + raw[at + 12 :])
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (taken + 2**28, hard))
    try:
        # All pixels are there, and after them the file ends.
        assert np.array_equal(read_radiograph(path), smooth())
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def test_no_more_is_asked_of_a_file_than_it_has(tmp_path: Path) -> None:
    content = bytes(range(256)) * 1000
    (tmp_path / "a").write_bytes(content)
    for begin in (0, 5, 200_000, len(content), len(content) + 9):
        for size in (0, 1, 2**16, 2**16 + 1, 100_000, 2**62):
            with BoundedFile(tmp_path / "a") as file:
                file.seek(begin)
                assert file.read(size) == content[begin : begin + size]
        for everything in ((), (None,), (-1,)):
            with BoundedFile(tmp_path / "a") as file:
                file.seek(begin)
                assert file.read(*everything) == content[begin:]
