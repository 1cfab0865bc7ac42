"""A DICOM file that is damaged in whatever way is decoded or named, in little time and memory."""

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsna_det.data.dicom.reading import read_radiograph, read_size
from rsna_det.errors import RsnaDetError
from tests.faults.dicom_files import SOUND
from tests.faults.dicom_mutations import MUTATIONS, mutate

# With `make fuzz`, whose profile asks for ten times as many of everything, a long night's worth.
_MUTATIONS = 30_000 if settings.default is not None and settings.default.max_examples >= 1000 else 600
_SECONDS = 20
_BYTES = 2**30


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of every file that is damaged."""
    folder = tmp_path_factory.mktemp("sound")
    for name, make in SOUND.items():
        make(folder / name)
    return folder


@contextmanager
def bounded() -> Iterator[None]:
    """Whatever runs too long is interrupted, and whatever takes too much memory fails."""

    def interrupt(*_: object) -> None:
        raise AssertionError(f"more than {_SECONDS} s for one file")

    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    handler = signal.signal(signal.SIGALRM, interrupt)
    resource.setrlimit(resource.RLIMIT_AS, (taken + _BYTES, before[1]))
    signal.setitimer(signal.ITIMER_REAL, _SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        resource.setrlimit(resource.RLIMIT_AS, before)


def outcome(path: Path) -> np.ndarray | str:
    """The pixels, or what is said of the file; any other error than ours passes through."""
    try:
        with bounded():
            return read_radiograph(path)
    except RsnaDetError as error:
        return str(error)


@pytest.mark.parametrize("name", SOUND)
def test_the_files_are_sound(sound: Path, name: str, tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes((sound / name).read_bytes())
    pixels = outcome(tmp_path / "a.dcm")
    assert isinstance(pixels, np.ndarray), pixels
    assert pixels.shape == (48, 64)
    assert len(np.unique(pixels)) > 50


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is limited as on Linux")
@settings(max_examples=_MUTATIONS)
@given(seed=st.integers(0, 2**63), name=st.sampled_from(list(SOUND)))
def test_a_damaged_file_is_decoded_or_named(
    sound: Path, tmp_path_factory: pytest.TempPathFactory, seed: int, name: str
) -> None:
    content, done = mutate((sound / name).read_bytes(), np.random.default_rng(seed))
    path = tmp_path_factory.getbasetemp() / "damaged.dcm"
    path.write_bytes(content)
    said = outcome(path)
    if isinstance(said, np.ndarray):
        assert said.dtype == np.uint8
        assert said.min() < said.max(), done
        assert said.shape == read_size(path)
    else:
        assert str(path) in said, done
        assert "memory ran out" not in said, done


@pytest.mark.parametrize("name", [name for name in SOUND if name.startswith("jpeg")])
def test_a_frame_cut_short_never_gives_other_pixels(sound: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes((sound / name).read_bytes())
    whole = read_radiograph(path)
    refused = 0
    for seed in range(30):
        path.write_bytes(MUTATIONS["cut frame"]((sound / name).read_bytes(), np.random.default_rng(seed)))
        said = outcome(path)
        refused += isinstance(said, str)
        assert isinstance(said, str) or np.array_equal(said, whole)
    assert refused >= 25


@pytest.mark.parametrize("name", [name for name in SOUND if name.startswith("jpeg")])
def test_swapped_sides_of_a_frame_are_refused(sound: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(MUTATIONS["swap"]((sound / name).read_bytes(), np.random.default_rng(0)))
    assert "48 rows and 64 columns where the header says 64 rows and 48 columns" in str(outcome(path))
