"""The output folder: what is in it under a final name is whole, whatever happens to the process."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
import stat
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from ...errors import OutputError, OutputExistsError, OutputReadOnlyError, VermilionError

try:
    import fcntl
except ImportError:  # no flock outside POSIX
    fcntl = None  # type: ignore[assignment]

__all__ = ["OutputFolder", "output_error", "slug", "write_atomically"]

logger = logging.getLogger(__name__)

_LOCK = ".vermilion.lock"
_DONE = "DONE"
_MANIFEST = "manifest.sha256"
_UNLISTED = ("run.log", _DONE, _MANIFEST)
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}")
_TEMPORARY = re.compile(r"\.[A-Za-z0-9][A-Za-z0-9._+-]*\.[0-9]+\.tmp")


def slug(text: object, *, default: str = "unnamed") -> str:
    """A harmless file name made of `text`: ASCII letters, digits and ``._+-``, at most 80 characters.

    Parameters
    ----------
    text : object
        Anything, such as the OBJECT card of a file from elsewhere.
    default : str
        Returned where nothing is left.

    Examples
    --------
    >>> slug("../../etc/NGC 1068 <b>")
    'etc_NGC_1068_b'
    """
    ascii_text = unicodedata.normalize("NFKD", str(text)).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9._+-]+", "_", ascii_text).strip("._+-")[:80].rstrip("._+-") or default


class OutputFolder:
    """A folder that one run writes its products into, each of them atomically.

    A product is written under a hidden temporary name in its own folder, flushed to the disk, and renamed. A reader sees
    the old file or the new one, never a part. `DONE` is written last: where it is, every product is whole.

    Parameters
    ----------
    path : path-like
        Created by `open` if it does not exist; its parent must exist.
    overwrite : bool
        Replace the products of an earlier run. Files that vermilion did not write are never deleted.

    Attributes
    ----------
    path : Path
    written : list of str
        Names of the products written so far.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as parent, OutputFolder(f"{parent}/out") as folder:
    ...     product = folder.write("note.txt", lambda path: path.write_text("seen"))
    ...     folder.finish("converged")
    ...     sorted(entry.name for entry in folder.path.iterdir() if not entry.name.startswith("."))
    ['DONE', 'manifest.sha256', 'note.txt']
    """

    def __init__(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        self.path = Path(path)
        self.overwrite = overwrite
        self.written: list[str] = []
        self._lock: int | None = None
        self._created = False
        self._earlier: dict[str, str] = {}

    # -- before any computing ------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Make sure that the folder can be written, and create nothing.

        Raises
        ------
        OutputExistsError
            If it holds something and `overwrite` was not given.
        OutputReadOnlyError
            If the folder, or the parent of a new one, may not be written.
        OutputError
            If the path is a file, or its parent is no folder.
        """
        try:
            self._check()
        except VermilionError:
            raise
        except PermissionError as error:
            raise OutputReadOnlyError(f"{self.path} may not be written: {error.strerror}; choose another folder.") from error
        except (OSError, ValueError) as error:
            raise OutputError(f"{str(self.path)!r} cannot be an output folder: {error}; choose another one.") from error

    def _check(self) -> None:
        mode = self._mode(self.path)
        if mode is None:
            parent_mode = self._mode(self.path.parent)
            if parent_mode is None or not stat.S_ISDIR(parent_mode):
                raise OutputError(f"the parent folder {self.path.parent} of {self.path} does not exist: create it first (mkdir -p).")
            _require_writable(self.path.parent, parent_mode)
            return
        if not stat.S_ISDIR(mode):
            raise OutputError(f"{self.path} is a file, expected a folder or a path that does not exist; choose another one.")
        _require_writable(self.path, mode)
        found = sorted(name for name in os.listdir(self.path) if name != _LOCK and not _TEMPORARY.fullmatch(name))
        if found and not self.overwrite:
            names = ", ".join(found[:3]) + (", …" if len(found) > 3 else "")
            raise OutputExistsError(f"{self.path} exists and is not empty ({names}): choose another folder or give --overwrite.")

    @staticmethod
    def _mode(path: Path) -> int | None:
        """Mode bits of what `path` leads to, None where nothing is there; a dangling link raises."""
        try:
            return path.stat().st_mode
        except FileNotFoundError:
            if path.is_symlink():
                raise
            return None

    # -- open and close ------------------------------------------------------------------------------------------------

    def open(self) -> OutputFolder:
        """Check, create and lock the folder, and remove the temporaries of runs that died in it.

        Returns
        -------
        OutputFolder
            Itself.

        Raises
        ------
        OutputError
            As `check`; also where another process holds the lock.
        """
        self.check()
        try:
            if not self.path.exists():
                self.path.mkdir(exist_ok=True)
                self._created = True
            self._take_lock()
            try:
                self._check()  # again: another run may have written here before the lock was ours
                self._remove_temporaries()
                self._earlier = _read_manifest(self.path / _MANIFEST)
            except BaseException:
                self.close()
                raise
        except OSError as error:
            raise output_error(f"{self.path} cannot be opened for writing", error) from error
        return self

    def close(self) -> None:
        """Release the lock; leave no trace of a new folder that nothing was written into."""
        if self._lock is None:
            return
        with suppress(OSError):  # the folder may be gone
            (self.path / _LOCK).unlink()
        os.close(self._lock)
        self._lock = None
        if self._created:
            with suppress(OSError):  # only an empty folder can be removed
                self.path.rmdir()

    def __enter__(self) -> OutputFolder:
        return self if self._lock is not None else self.open()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _take_lock(self) -> None:
        path = self.path / _LOCK
        while True:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
            try:
                if fcntl is None:
                    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pid = os.read(lock, 32).decode("ascii", "replace").strip() or "unknown"
                os.close(lock)
                raise OutputError(f"{self.path} is locked by pid {pid}: wait for it, or choose another folder.") from None
            except OSError as error:
                logger.warning("no file locks in %s (%s): do not write into it from two runs at once.", self.path, error)
                break
            # The former owner may have removed the file between our open and our lock: then the lock guards nothing.
            if path.exists() and os.path.samestat(os.fstat(lock), path.stat()):
                break
            os.close(lock)
        os.ftruncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
        self._lock = lock

    def _remove_temporaries(self) -> None:
        for folder in (self.path, *(entry for entry in self.path.iterdir() if entry.is_dir() and not entry.is_symlink())):
            for entry in folder.iterdir():
                if _TEMPORARY.fullmatch(entry.name) and entry.is_file():
                    entry.unlink()

    # -- products ------------------------------------------------------------------------------------------------------

    def write(self, name: str, producer: Callable[[Path], object]) -> Path:
        """Write one product: all of it, or nothing.

        Parameters
        ----------
        name : str
            Such as ``"components.fits"`` or ``"figures/maps.png"``; it cannot lead out of the folder.
        producer : callable
            Called with the temporary path, which does not exist yet and ends with ``.tmp``; writes the whole file there.

        Returns
        -------
        Path
            The final name.

        Raises
        ------
        OutputError
            If the name is not allowed or the disk refuses; an older file of that name is then as it was.
        """
        target = self._target(name)
        if not self.written:
            (self.path / _DONE).unlink(missing_ok=True)  # from here on the earlier products are replaced one by one
        try:
            target.parent.mkdir(exist_ok=True)
            write_atomically(target, producer)
        except VermilionError:
            raise
        except OSError as error:
            raise output_error(f"{target} was not written", error) from error
        if name not in self.written:
            self.written.append(name)
        return target

    def finish(self, status: str) -> None:
        """Write `manifest.sha256` (for ``sha256sum -c``), then `DONE`, which holds `status`.

        Products that an earlier run listed in its manifest and this run did not write are removed, unless somebody
        has changed them since.
        """
        for name, digest in self._earlier.items():
            path = self.path / name
            if name not in self.written and self._holds(path) and path.is_file() and _digest(path) == digest:
                path.unlink()
        listed = sorted(name for name in self.written if name not in _UNLISTED)
        lines = "".join(f"{_digest(self.path / name)}  {name}\n" for name in listed)
        self.write(_MANIFEST, lambda path: path.write_text(lines, "utf-8"))
        self.write(_DONE, lambda path: path.write_text(f"{status}\n", "utf-8"))

    def _target(self, name: str) -> Path:
        if self._lock is None:
            raise OutputError(f"{self.path} is not open: write inside 'with OutputFolder(path) as folder:'.")
        target = self.path / name
        if not _is_name(name) or not self._holds(target):
            raise OutputError(f"{name!r} cannot name a product in {self.path}: use slug() on names that come from data.")
        return target

    def _holds(self, path: Path) -> bool:
        """Whether `path` stays in this folder when links are followed."""
        return path.parent.resolve().is_relative_to(self.path.resolve())


def _is_name(name: str) -> bool:
    return all(_PART.fullmatch(part) for part in name.split("/"))


def _require_writable(folder: Path, mode: int) -> None:
    # The bits are looked at too, because everything is allowed to root.
    if not mode & 0o222 or not os.access(folder, os.W_OK | os.X_OK):
        raise OutputReadOnlyError(f"{folder} may not be written: change its permissions or choose another folder.")


def output_error(what: str, error: OSError) -> OutputError:
    """The error of ours that says why a file could not be written."""
    # astropy and numpy say in words, without a number, that the disk is full
    number = errno.ENOSPC if str(error).startswith("Not enough space") else error.errno
    kind = OutputReadOnlyError if number in (errno.EACCES, errno.EPERM, errno.EROFS) else OutputError
    hint = "; free some space or choose another folder" if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else ""
    return kind(f"{what}: {os.strerror(number) if number else error}{hint}.")


def write_atomically(target: Path, producer: Callable[[Path], object]) -> None:
    """Let `producer` write a file beside `target` and move it there once it is whole."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        producer(temporary)
        with open(temporary, "rb+") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    """Make a rename durable; some file systems cannot sync a folder, and need not."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def _digest(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _read_manifest(path: Path) -> dict[str, str]:
    """Names and digests that an earlier run listed; only names that a product can have."""
    if not path.is_file():
        return {}
    lines = [line.split("  ", 1) for line in path.read_text("ascii", "replace").splitlines() if "  " in line]
    return {name: digest for digest, name in lines if _is_name(name)}
