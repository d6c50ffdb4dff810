"""One process, one store (contract R4): an exclusive lock that ends with its process."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from module_gateway.protocol.errors import StoreError


def lock_path(path: Path) -> Path:
    """`handler.lock` beside `handler.db`."""
    return path.with_suffix(".lock")


class StoreLock:
    """Held from the moment it is made until `release` or the end of the process.

    A lock of its own, not SQLite's: SQLite drops its locks between transactions, and POSIX locks
    vanish when any descriptor of the file is closed.
    """

    def __init__(self, path: Path) -> None:
        """Take the lock of the store at `path`.

        Raises:
            StoreError: another process holds it, or the lock file cannot be written.
        """
        name = lock_path(path)
        try:
            self._descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(
                f"the lock {name} cannot be opened ({error.strerror}); give this user the right to "
                "write there, or choose another --state-dir"
            ) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(self._descriptor, 32, 0).decode(errors="replace").strip() or "?"
            os.close(self._descriptor)
            raise StoreError(
                f"the store {path} is in use by process {holder}; stop it first, or choose another "
                "--state-dir"
            ) from error
        except OSError as error:
            os.close(self._descriptor)
            raise StoreError(f"the lock {name} cannot be taken: {error.strerror}") from error
        with suppress(
            OSError
        ):  # only for people: a full disk does not keep a handler from starting
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let the next process have the store."""
        os.close(self._descriptor)
