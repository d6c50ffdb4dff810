"""Statuses as lines of a file."""

from __future__ import annotations

from pathlib import Path

from fleet_lab.errors import LabError
from fleet_lab.sinks.api import DevicePort
from fleet_lab.sinks.local import LocalSink
from fleet_lab.sinks.paths import expand
from fleet_lab.sinks.retry import cause


class FileSink(LocalSink):
    """`file:PATH`: appends; with `{id}` in the path every device has a file of its own.

    The file is opened for each line, so that a fleet of thousands needs no descriptor per device
    and several processes may write the same file.
    """

    __slots__ = ("_path",)

    async def open(self, port: DevicePort) -> None:
        """See that the file can be written.

        Raises:
            LabError: it cannot.
        """
        self._path = Path(expand(self.url.path, port.device))
        try:
            self._write("")
        except OSError as error:
            raise LabError(f"cannot write {self._path}: {cause(error)}") from None
        await super().open(port)

    def _write(self, line: str) -> None:
        with self._path.open("ab", buffering=0) as file:
            file.write(line.encode())
