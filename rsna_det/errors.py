"""What a user can mend: the commands print these errors as one line; any other error is a bug and keeps its traceback.

Each kind is also the nearest built-in error, so that ``except FileNotFoundError`` works as in any library.
Messages say what was found, what was expected and what to do.
"""


class RsnaDetError(Exception):
    """The base of every error that a user can mend."""


class ConfigError(RsnaDetError, ValueError):
    """An option that is unknown, missing, of the wrong type or at odds with another."""


class InvalidValueError(RsnaDetError, ValueError):
    """An argument or option that is out of its range."""


class DataError(RsnaDetError, ValueError):
    """A file whose content is damaged or contradicts itself or another file."""


class MissingFileError(RsnaDetError, FileNotFoundError):
    """A file or folder that is not there."""


class InUseError(RsnaDetError, FileExistsError):
    """A folder or file that another process or an earlier result occupies."""


class StorageError(RsnaDetError, OSError):
    """A file that cannot be read or written: a full disk, permissions, a failing device."""


class ResourceError(RsnaDetError, RuntimeError):
    """A machine that lacks what was asked for: memory, a GPU, a package."""


class DownloadError(RsnaDetError, ConnectionError):
    """A download that failed."""


class DivergedError(RsnaDetError, FloatingPointError):
    """A training whose loss is no longer finite."""
