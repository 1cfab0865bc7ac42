"""Whatever happens to a record's file: it is read, or an error names the file and the remedy. Nothing hangs or runs."""

import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsna_det.config.console import set_up
from rsna_det.errors import RsnaDetError
from tests.faults.records_mutations import BYTES, as_json, as_yaml, change_cells, change_values, in_its_place
from tests.faults.records_readers import READERS, Reader, parsed

# Of the slowest, a configuration that is resumed; a reader that hangs is a failure.
_SECONDS = 20
# Of each record: 400 in all in `make test`, 34,000 in `make fuzz`.
_MANY = settings.get_current_profile_name() == "fuzz"
_EXAMPLES = 2000 if _MANY else 24


@pytest.fixture(scope="module", params=sorted(READERS))
def record(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Reader, Path, bytes]:
    """A sound record, and its bytes."""
    set_up()
    reader = READERS[request.param]
    path = tmp_path_factory.mktemp("record") / reader.file
    path.parent.mkdir(exist_ok=True)
    reader.write(path)
    reader.read(path)
    return reader, path, path.read_bytes()


@contextmanager
def no_longer_than(seconds: int) -> Iterator[None]:
    def late(*_: object) -> None:
        raise TimeoutError(f"it took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def outcome(reader: Reader, path: Path) -> str:
    """``read``, or the message of the error that names the file."""
    try:
        with no_longer_than(_SECONDS):
            reader.read(path)
    except RsnaDetError as error:
        message = str(error)
        assert path.name in message, message
        assert len(message) < 20_000
        return message
    return "read"


def damaged(reader: Reader, sound: bytes, seed: int) -> bytes:
    chance = random.Random(seed)  # noqa: S311
    if reader.format == "bytes" or chance.random() < 0.4:
        return chance.choice(BYTES)(chance, sound)
    if reader.format == "csv":
        return change_cells(chance, sound)
    changed = change_values(chance, parsed(reader, sound))
    return as_json(changed) if reader.format == "json" else as_yaml(changed)


@settings(max_examples=_EXAMPLES)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_damaged_record_is_read_or_named(record: tuple[Reader, Path, bytes], seed: int) -> None:
    reader, path, sound = record
    path.write_bytes(damaged(reader, sound, seed))
    try:
        outcome(reader, path)
    finally:
        path.write_bytes(sound)


@pytest.mark.parametrize("kind", ["nothing", "folder", "link to nowhere", "link to itself"])
def test_no_file_in_its_place(record: tuple[Reader, Path, bytes], kind: str) -> None:
    reader, path, sound = record
    in_its_place(path, kind)
    try:
        outcome(reader, path)
    finally:
        path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
        path.write_bytes(sound)


def test_a_damaged_record_is_mostly_noticed(record: tuple[Reader, Path, bytes]) -> None:
    """Truncated to a half, and overwritten: never read as if nothing were."""
    reader, path, sound = record
    for content in (sound[: len(sound) // 2], bytes(len(sound)), b"", b"\xff" * 100):
        path.write_bytes(content)
        found = outcome(reader, path)
        path.write_bytes(sound)
        # Half a CSV file or YAML file may be a shorter one.
        assert found != "read" or (content and sound.startswith(content) and reader.format in ("csv", "yaml"))
    assert outcome(reader, path) == "read"
