"""Which files of a folder are radiographs, and what they are called."""

import os
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from rsna_det.data.dicom.discovery import find_radiographs
from rsna_det.data.dicom.reading import DicomError, read_radiograph
from tests.data.dicom.files import smooth, write

MARKED = b"\0" * 128 + b"DICM"


def make(root: Path, *names: str, content: bytes = MARKED) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


def ids(*places: Path) -> dict[str, str]:
    return {name: path.name for name, path in find_radiographs([str(place) for place in places]).items()}


def test_a_folder_is_searched_to_any_depth(tmp_path: Path) -> None:
    make(tmp_path, "b.dcm", "one/two/a.DCM", "one/IM0001", "1.2.840.113619")
    assert ids(tmp_path) == {"1.2.840.113619": "1.2.840.113619", "IM0001": "IM0001", "a": "a.DCM", "b": "b.dcm"}


def test_other_and_hidden_files_are_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make(tmp_path, "a.dcm", "._a.dcm", ".git/x.dcm", "DICOMDIR")
    make(tmp_path, "notes.txt", "short", content=b"text")
    # A suffix is a promise: such a file is read, and if it is damaged that is reported.
    make(tmp_path, "damaged.dcm", content=b"text")
    assert ids(tmp_path) == {"a": "a.dcm", "damaged": "damaged.dcm"}
    told = f"2 files are not DICOM files and are left out (the first: {tmp_path}/notes.txt, {tmp_path}/short)"
    assert caplog.messages == [told]
    # A glob is no promise of the files' kind either; the folder and the glob find each file once.
    caplog.clear()
    assert ids(tmp_path, tmp_path / "*") == {"a": "a.dcm", "damaged": "damaged.dcm"}
    assert caplog.messages == [told]
    caplog.clear()
    assert set(ids(tmp_path / "*", tmp_path / "notes.txt", tmp_path / "short")) >= {"notes.txt", "short"}
    assert caplog.messages == []


def test_files_of_one_name_are_called_by_their_folders_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make(tmp_path, "p1/s1/image.dcm", "p1/s2/image.dcm", "p2/image", "p1/other.dcm", "p2_image.dcm")
    found = find_radiographs(str(tmp_path))
    assert {name: str(path.relative_to(tmp_path)) for name, path in found.items()} == {
        "other": "p1/other.dcm",
        "p1_s1_image": "p1/s1/image.dcm",
        "p1_s2_image": "p1/s2/image.dcm",
        "p2_image": "p2_image.dcm",
        "p2_image_2": "p2/image",
    }
    assert caplog.messages == ["3 files share a name with another (the first: image): their ids contain folders"]
    caplog.clear()
    find_radiographs(str(tmp_path / "p1" / "s1"))
    assert caplog.messages == []


def test_ids_can_name_files(tmp_path: Path) -> None:
    make(tmp_path, "röntgen 1.dcm", "r_ntgen_1.dcm", "a,b.dcm")
    assert list(find_radiographs(str(tmp_path))) == ["a_b", "r_ntgen_1", "r_ntgen_1_2"]


def test_files_and_globs_are_taken_as_they_are_and_each_once(tmp_path: Path) -> None:
    make(tmp_path, "x/a.dcm", "x/b.dcm", "[1].dcm")
    make(tmp_path, "x/c.bin", content=b"no mark")
    places = [tmp_path / "x" / "*.dcm", tmp_path / "x" / "a.dcm", tmp_path / "x" / "c.bin", tmp_path / "[1].dcm"]
    assert list(ids(*places)) == ["_1_", "a", "b", "c.bin"]


def test_a_place_without_images_is_named(tmp_path: Path) -> None:
    make(tmp_path, "notes.txt", content=b"text")
    with pytest.raises(FileNotFoundError, match=r"images=.*no DICOM file is in it"):
        find_radiographs(str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"images=.*nowhere: there is no such file or folder"):
        find_radiographs(str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match=r"images=.*\*\.dcm: no file or folder matches"):
        find_radiographs(str(tmp_path / "*.dcm"))


def test_linked_folders_are_entered_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make(tmp_path, "far/a.dcm", "root/near/b.dcm", "root/near/deep/c.dcm")
    (tmp_path / "root" / "linked").symlink_to(tmp_path / "far")
    (tmp_path / "root" / "again").symlink_to(tmp_path / "root" / "near")
    (tmp_path / "root" / "near" / "circle").symlink_to(tmp_path / "root")
    found = find_radiographs(str(tmp_path / "root"))
    assert {name: str(path.relative_to(tmp_path / "root")) for name, path in found.items()} == {
        "a": "linked/a.dcm",
        "b": "near/b.dcm",
        "c": "near/deep/c.dcm",
    }
    assert f"{tmp_path}/root/again leads to {tmp_path}/root/near, whose files are taken once" in caplog.messages


def test_every_name_of_a_file_is_an_image(tmp_path: Path) -> None:
    make(tmp_path, "x/a.dcm")
    (tmp_path / "x" / "b.dcm").symlink_to(tmp_path / "x" / "a.dcm")
    (tmp_path / "x" / "c.dcm").hardlink_to(tmp_path / "x" / "a.dcm")
    (tmp_path / "x" / "IM0001").symlink_to(tmp_path / "x" / "a.dcm")
    expected = {"IM0001": "IM0001", "a": "a.dcm", "b": "b.dcm", "c": "c.dcm"}
    assert ids(tmp_path) == expected
    # By folder, glob and name: each name still once.
    (tmp_path / "way").symlink_to(tmp_path / "x")
    assert ids(tmp_path / "x", tmp_path / "x" / "*", tmp_path / "way" / "b.dcm", tmp_path / "way") == expected


def test_what_cannot_be_opened_is_taken_so_that_it_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a.dcm", "closed/b.dcm")
    (tmp_path / "IM0002").symlink_to(tmp_path / "gone")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    os.mkfifo(tmp_path / "pipe")
    scan = os.scandir

    def denied(path: Path) -> object:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", denied)
    found = find_radiographs(str(tmp_path))
    assert list(found) == ["IM0002", "a", "circle", "closed"]
    for name, message in [("IM0002", "a link to a file that is not there"), ("circle", "in a circle"),
                          ("closed", "cannot be read .Permission denied")]:  # fmt: skip
        with pytest.raises(DicomError, match=message):
            read_radiograph(found[name])


def test_names_that_are_not_utf8_get_ids(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    name = os.fsdecode(b"r\xf6ntgen.dcm")
    make(tmp_path, name)
    make(tmp_path, os.fsdecode(b"n\xf6te.txt"), content=b"text")
    assert ids(tmp_path) == {"r_ntgen": name}
    assert caplog.text.encode("utf-8")
    assert r"n\udcf6te.txt" in caplog.text


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("meta", [True, False])
def test_a_data_set_without_preamble_and_suffix_is_found(tmp_path: Path, syntax: UID, meta: bool) -> None:
    raw = write(tmp_path / "a.dcm", smooth(), syntax=syntax).read_bytes()
    begin = 132 if meta else 144 + int.from_bytes(raw[140:144], "little")
    make(tmp_path, "IM0001", content=raw[begin:])
    for name, content in [("text", b"a long text"), ("a.bin", bytes(500)), ("b.png", b"\x89PNG"), ("c.txt", b"")]:
        make(tmp_path, name, content=content)
    assert ids(tmp_path) == {"IM0001": "IM0001", "a": "a.dcm"}
    assert np.array_equal(read_radiograph(tmp_path / "IM0001"), smooth())


def test_whatever_is_left_out_is_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    make(tmp_path, "a.dcm", "._a.dcm", ".old/x.dcm")
    make(tmp_path, "DICOMDIR", "other.name", content=MARKED + b"..1.2.840.10008.1.3.10\0\0")
    make(tmp_path, "notes.txt", content=b"text")
    make(tmp_path, "LICENSE", content="© you".encode())
    assert ids(tmp_path) == {"a": "a.dcm"}
    assert caplog.messages == [
        f"2 hidden files and folders are left out (the first: {tmp_path}/._a.dcm, {tmp_path}/.old)",
        f"2 tables of contents hold no image and are left out (the first: {tmp_path}/DICOMDIR, {tmp_path}/other.name)",
        f"2 files are not DICOM files and are left out (the first: {tmp_path}/LICENSE, {tmp_path}/notes.txt)",
    ]


@pytest.mark.parametrize(
    "content",
    [b"", bytes(50), bytes(128) + b"DIC", b"\x89PNG\r\n", "Röntgen".encode("latin-1"), b"text\x7f", b"te\x01t"],
)
@pytest.mark.parametrize("name", ["IM0001", "1.2.840.113619"])
def test_a_damaged_file_without_suffix_is_a_named_problem(tmp_path: Path, name: str, content: bytes) -> None:
    make(tmp_path, name, content=content)
    (path,) = find_radiographs(str(tmp_path)).values()
    with pytest.raises(DicomError, match=name):
        read_radiograph(path)


def test_a_text_may_be_cut_within_a_letter(tmp_path: Path) -> None:
    make(tmp_path, "a.dcm")
    make(tmp_path, "README", content=b"\t" + "é".encode() * 1000)
    assert ids(tmp_path) == {"a": "a.dcm"}


def test_only_a_file_is_a_table_of_contents(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    make(tmp_path, "DICOMDIR/a.dcm", "DICOMDIR/IM0001")
    write(tmp_path / "x.dcm", smooth()).rename(tmp_path / "dicomdir")
    assert ids(tmp_path) == {"IM0001": "IM0001", "a": "a.dcm", "dicomdir": "dicomdir"}
    assert caplog.messages == []


def test_a_glob_may_match_folders(tmp_path: Path) -> None:
    make(tmp_path, "p1/a.dcm", "p2/deep/b.dcm", ".hidden/c.dcm")
    assert ids(tmp_path / "p*") == {"a": "a.dcm", "b": "b.dcm"}
    # What is named itself is taken, hidden or not; what a glob matches is not, if it is hidden.
    assert ids(tmp_path / ".hidden") == {"c": "c.dcm"}
    with pytest.raises(FileNotFoundError, match=rf"^images={tmp_path}/\.h\*: no DICOM file is in it; is it the right"):
        ids(tmp_path / ".h*")


def test_a_hidden_file_that_is_named_gets_a_name_that_shows(tmp_path: Path) -> None:
    make(tmp_path, ".a.dcm")
    assert ids(tmp_path / ".a.dcm") == {"_a": ".a.dcm"}


def test_a_mark_counts_more_than_a_suffix(tmp_path: Path) -> None:
    make(tmp_path, "a.bin")
    make(tmp_path, "b.raw", content=b"\x08\0\x05\0CS\x0a\0ISO_IR 100")
    assert ids(tmp_path) == {"a.bin": "a.bin", "b.raw": "b.raw"}


def test_many_files_of_one_name_are_numbered_in_the_order_of_their_paths(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make(tmp_path, "b/x y.dcm", "a/x,y.dcm", "a/x;y.dcm", "a/x_y.dcm", "a/z.dcm", "b/z.dcm")
    assert ids(tmp_path / "b", tmp_path / "a") == {
        "x_y": "x,y.dcm",
        "x_y_2": "x;y.dcm",
        "x_y_3": "x_y.dcm",
        "x_y_4": "x y.dcm",
        "z": "z.dcm",
        "z_2": "z.dcm",
    }
    assert caplog.messages == ["6 files share a name with another (the first: x_y): their ids contain folders"]
    caplog.clear()
    make(tmp_path, "c/one/i.dcm", "c/two/i.dcm")
    assert list(ids(tmp_path / "c")) == ["one_i", "two_i"]
    assert caplog.messages == ["2 files share a name with another (the first: i): their ids contain folders"]
