"""Files that cannot be read are named, with what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rsna_det.errors import MissingFileError, RsnaDetError, StorageError


@contextmanager
def readable(path: Path, *, missing: str = "check its name") -> Iterator[None]:
    """Turn the system's errors within the block, which reads one file or folder, into errors that name it.

    Args:
        path: of the file or folder.
        missing: what was expected there, or what to do if it is not there.

    Raises:
        MissingFileError: there is no such file.
        StorageError: it cannot be read.
    """
    try:
        yield
    except RsnaDetError:
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingFileError(f"{path}: there is no such file; {missing}") from error
    except OSError as error:
        reason = error.strerror or error
        raise StorageError(f"{path} cannot be read ({reason}): check its permissions and the disk") from error
