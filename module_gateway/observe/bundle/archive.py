"""The file that leaves the machine: everything in it is scrubbed, counted and listed.

Nothing gets in but through `Archive.add`, so nothing gets in with a secret that is known.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from module_gateway.observe.secrets import Scrubber, without_secrets

MODE: Final = 0o600
"""Only for whoever made it: it says a lot about a site, though no secret."""

MANIFEST: Final = "manifest.json"


class Archive:
    """A `.tar.gz` that is being written. Use `new_archive`."""

    def __init__(self, tar: tarfile.TarFile, folder: str, scrubber: Scrubber) -> None:
        self._tar = tar
        self._folder = folder
        self._scrubber = scrubber
        self._members: list[dict[str, Any]] = []
        self._failures: list[dict[str, str]] = []
        self._now = int(time.time())

    @property
    def names(self) -> list[str]:
        """What is inside."""
        return [str(each["name"]) for each in self._members]

    @property
    def failures(self) -> list[dict[str, str]]:
        """What could not be had, and why."""
        return list(self._failures)

    def add(self, name: str, text: str, what: str) -> None:
        """Put a text in, without the known secrets; `what` is for the manifest."""
        clean = self._scrubber.scrub(text).encode("utf-8", "backslashreplace")
        self._write(name, clean)
        digest = hashlib.sha256(clean).hexdigest()
        self._members.append({"name": name, "bytes": len(clean), "sha256": digest, "what": what})

    def add_json(self, name: str, value: object, what: str) -> None:
        """Put a JSON value in; fields whose names say that they are secret are hidden."""
        clean = without_secrets(value)
        self.add(name, json.dumps(clean, indent=2, default=str, ensure_ascii=False) + "\n", what)

    def lacks(self, name: str, why: object) -> None:
        """Say that something could not be had."""
        self._failures.append({"name": name, "why": self._scrubber.scrub(str(why))})

    def close(self, about: dict[str, Any]) -> None:
        """Write the manifest: `about` and what is inside."""
        manifest = {**about, "contents": self._members, "missing": self._failures}
        text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
        self._write(MANIFEST, self._scrubber.scrub(text).encode())

    def _write(self, name: str, content: bytes) -> None:
        member = tarfile.TarInfo(f"{self._folder}/{name}")
        member.size, member.mode, member.mtime = len(content), MODE, self._now
        self._tar.addfile(member, io.BytesIO(content))


class _Begun:
    """Takes a file away again that was not finished."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self._path.unlink(missing_ok=True)


@contextmanager
def new_archive(path: Path, scrubber: Scrubber) -> Iterator[Archive]:
    """Write a new archive at `path`; nothing is left of one that fails.

    Raises:
        FileExistsError: there is a file already.
        OSError: it cannot be written.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE)
    with _Begun(path), os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, MODE)
        with tarfile.open(fileobj=file, mode="w:gz") as tar:
            yield Archive(tar, path.name.partition(".")[0], scrubber)
