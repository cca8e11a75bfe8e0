"""What can go wrong, by name, each with its stable code and the exit code of the command line."""

from __future__ import annotations

__all__ = [
    "AmbiguousInputError",
    "ConvergenceWarning",
    "CorruptFileError",
    "DeviceError",
    "EmptyFileError",
    "HeaderError",
    "InputWarning",
    "InterruptedRunError",
    "MemoryLimitError",
    "MissingFileError",
    "NoDataError",
    "NotConvergedError",
    "NotFITSError",
    "OutputError",
    "OutputExistsError",
    "OutputReadOnlyError",
    "ParameterError",
    "PeerError",
    "ShapeError",
    "TruncatedFileError",
    "UnitError",
    "VermilionError",
    "VermilionWarning",
]


class VermilionError(Exception):
    """Base of every error that vermilion raises on purpose.

    Attributes
    ----------
    code : str
        Stable, documented name such as ``E-UNIT``.
    exit_code : int
        What the command line ends with.
    """

    code = "E-INTERNAL"
    exit_code = 1


class ParameterError(VermilionError, ValueError):
    """A parameter is outside its range, unknown, or contradicts another."""

    code = "E-PARAM"
    exit_code = 2


class MissingFileError(VermilionError, FileNotFoundError):
    """The input does not exist, is no regular file, or may not be read."""

    code = "E-MISSING"
    exit_code = 3


class EmptyFileError(VermilionError, OSError):
    """The input holds no byte."""

    code = "E-EMPTY"
    exit_code = 3


class NotFITSError(VermilionError, OSError):
    """The input is not in a format that a reader knows."""

    code = "E-FORMAT"
    exit_code = 3


class TruncatedFileError(VermilionError, OSError):
    """The file ends before the data that its headers announce."""

    code = "E-TRUNCATED"
    exit_code = 3


class CorruptFileError(VermilionError, OSError):
    """A header contradicts itself, or a checksum does not agree with the data."""

    code = "E-CORRUPT"
    exit_code = 3


class HeaderError(VermilionError, ValueError):
    """A readable header whose meaning is contradictory or missing."""

    code = "E-HEADER"
    exit_code = 4


class UnitError(VermilionError, ValueError):
    """A unit that cannot be understood or does not fit."""

    code = "E-UNIT"
    exit_code = 4


class ShapeError(VermilionError, ValueError):
    """Arrays whose shapes do not belong together, or a file without a cube."""

    code = "E-SHAPE"
    exit_code = 4


class NoDataError(VermilionError, ValueError):
    """Nothing is left to fit: no finite datum with positive weight, or no signal at all."""

    code = "E-NODATA"
    exit_code = 4


class AmbiguousInputError(VermilionError, ValueError):
    """The meaning of a file cannot be decided without being told."""

    code = "E-AMBIGUOUS"
    exit_code = 4


class NotConvergedError(VermilionError, RuntimeError):
    """The products are written and marked, but the fit did not converge."""

    code = "E-CONVERGENCE"
    exit_code = 5


class OutputError(VermilionError, OSError):
    """The products cannot be written."""

    code = "E-OUTPUT"
    exit_code = 6


class OutputExistsError(OutputError, FileExistsError):
    """The output folder is there already and holds something."""

    code = "E-EXISTS"


class OutputReadOnlyError(OutputError, PermissionError):
    """The output folder may not be written."""

    code = "E-READONLY"


class MemoryLimitError(VermilionError, MemoryError):
    """The work needs more memory than there is."""

    code = "E-MEMORY"
    exit_code = 7


class DeviceError(VermilionError, RuntimeError):
    """The device asked for is absent."""

    code = "E-DEVICE"
    exit_code = 7


class PeerError(VermilionError, RuntimeError):
    """A peer package failed on the problem that was handed to it."""

    code = "E-PEER"
    exit_code = 1


class InterruptedRunError(VermilionError, RuntimeError):
    """A signal ended the run: 130 after SIGINT, 143 after SIGTERM."""

    code = "E-INTERRUPTED"
    exit_code = 130

    def __init__(self, message: str, *, exit_code: int = 130) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class VermilionWarning(UserWarning):
    """Base of every warning that vermilion gives."""


class ConvergenceWarning(VermilionWarning):
    """Finished, but not converged."""


class InputWarning(VermilionWarning):
    """The input was understood, with a reservation."""
