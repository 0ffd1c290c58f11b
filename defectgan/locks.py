"""One job at a time in a folder, or several that know of each other."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from defectgan.errors import DataError

LOCK = ".lock"
# What network disks say that know no locks: there a job goes without.
_UNKNOWN = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


@contextmanager
def held(folder: Path, *, shared: bool = False) -> Iterator[None]:
    """Be the only job in a folder, which is made if it is not there; however the process ends,
    the next one may.

    Args:
        folder: the folder.
        shared: be one of several that share it, of which each keeps to its own files; nobody who
            wants it alone gets in meanwhile.

    Raises:
        DataError: if another job is at work in it.
    """
    new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK
    while True:
        file = path.open("a+", encoding="ascii")
        try:
            _lock(file, shared=shared)
        except (BlockingIOError, PermissionError) as error:
            file.seek(0)
            who = file.read().strip()
            file.close()
            raise DataError(
                f"another job is at work in {folder}{f' (process {who})' if who else ''}: wait "
                "until it is done, or name another folder"
            ) from error
        except OSError as error:
            if error.errno not in _UNKNOWN:
                raise
        if _is_that_file(file, path):  # its last owner may have taken it away meanwhile
            break
        file.close()
    try:
        file.truncate(0)
        if not shared:
            file.write(str(os.getpid()))
            file.flush()
        yield
    finally:
        if shared:  # others may hold that file: it stays for the one that has the folder alone
            file.close()
        elif os.name == "nt":  # an open file cannot be taken away there
            file.close()
            path.unlink(missing_ok=True)
        else:
            path.unlink(missing_ok=True)
            file.close()
        if new and not shared and not any(folder.iterdir()):
            folder.rmdir()


def is_held(folder: Path) -> bool:
    """Whether a job has a folder for itself at this moment."""
    with suppress(FileNotFoundError), (folder / LOCK).open("r", encoding="ascii") as file:
        try:
            _lock(file, shared=True)
        except (BlockingIOError, PermissionError):
            return True
        except OSError as error:
            if error.errno not in _UNKNOWN:
                raise
    return False


def _is_that_file(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _lock(file: IO[str], *, shared: bool) -> None:
    try:
        import fcntl
    except ImportError:
        import msvcrt

        if not shared:  # no such thing there
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
