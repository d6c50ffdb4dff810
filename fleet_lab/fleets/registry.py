"""How other commands reach the fleets of a running `fleet-lab fleet run`: a socket in a folder.

Every run listens on a Unix socket of its own in `<state folder>/runs`; only its user may open it.
A command asks every run, so a device or a fleet is found wherever it runs.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from fleet_lab.errors import EXIT_USAGE, LabError
from fleet_lab.fleets.running import RunningFleet
from fleet_lab.fleets.wire import Decoder, Frame, WireError, encode

ANSWER_TIMEOUT_S: Final = 60.0
"""Scaling to thousands of devices is answered when they are open."""
_READ_BYTES: Final = 1 << 16
Scaled = Callable[[str, int], None]


def state_folder(environ: Mapping[str, str]) -> Path:
    """`$XDG_STATE_HOME/fleet-lab`, else `~/.local/state/fleet-lab`."""
    base = environ.get("XDG_STATE_HOME", "")
    home = Path(environ.get("HOME") or Path.home())
    root = Path(base) if Path(base).is_absolute() else home / ".local" / "state"
    return root / "fleet-lab"


class ControlSocket:
    """Serves one run's fleets. Use it as an async context manager.

    Args:
        scaled: told before a fleet gets another size.
        stop: called when somebody asks the run to end.
    """

    def __init__(
        self,
        folder: Path,
        fleets: Mapping[str, RunningFleet],
        stop: Callable[[], None],
        scaled: Scaled = lambda _fleet, _size: None,
    ) -> None:
        self.path = folder / "runs" / f"{os.getpid()}.sock"
        self._fleets = fleets
        self._stop = stop
        self._scaled = scaled
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.unlink(missing_ok=True)
            self._server = await asyncio.start_unix_server(self._serve, str(self.path))
            self.path.chmod(0o600)
        except OSError as error:
            raise LabError(f"cannot listen on {self.path}: {error.strerror or error}") from error
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._server is not None:
            self._server.close()
        self.path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        decoder = Decoder()
        try:
            while chunk := await reader.read(_READ_BYTES):
                for fields, attachment in decoder.receive(chunk):
                    writer.write(encode(await self._answer(fields, attachment)))
                    await writer.drain()
        except (ConnectionError, WireError):
            pass  # whoever asked is gone or is none of ours
        finally:
            writer.close()

    async def _answer(self, fields: Mapping[str, Any], payload: bytes) -> dict[str, Any]:
        try:
            return {"answer": await self._do(fields, payload)}
        except LabError as error:
            return {"error": error.text, "exit_code": error.exit_code}
        except (KeyError, TypeError, ValueError) as error:
            return {"error": f"a bad request: {error!r}", "exit_code": EXIT_USAGE}

    async def _do(self, fields: Mapping[str, Any], payload: bytes) -> object:
        match fields["do"]:
            case "ps":
                return [fleet.ps() for fleet in self._fleets.values() if fleet.is_running]
            case "scale":
                fleet = self._fleet(fields["fleet"])
                size = int(fields["size"])
                fleet.spec.resized(size)
                self._scaled(fleet.name, size)
                await fleet.scale(size)
                return fleet.ps()
            case "send":
                await self._home_of(fields["device"]).send(fields["device"], payload)
                return None
            case "telemetry":
                return await self._home_of(fields["device"]).telemetry(fields["device"])
            case "stop":
                self._stop()
                return None
            case unknown:
                raise LabError(f"a run cannot {unknown!r}", EXIT_USAGE)

    def _fleet(self, name: str) -> RunningFleet:
        if name not in self._fleets:
            raise LabError(f"there is no fleet {name!r}", EXIT_USAGE)
        return self._fleets[name]

    def _home_of(self, device_id: str) -> RunningFleet:
        for fleet in self._fleets.values():
            index = fleet.spec.index_of(device_id)
            if index is not None and index < fleet.size:
                return fleet
        raise LabError(f"there is no device {device_id!r}", EXIT_USAGE)


def ask_all(
    folder: Path, fields: Mapping[str, Any], payload: bytes = b""
) -> Iterator[dict[str, Any]]:
    """The answer of every run that is alive; sockets of dead ones are removed.

    Each is `{"answer": …}` or `{"error": …, "exit_code": …}`.
    """
    for path in sorted((folder / "runs").glob("*.sock")):
        try:
            answer, _ = _ask(path, encode(fields, payload))
        except (ConnectionRefusedError, FileNotFoundError):
            with suppress(OSError):
                path.unlink()
        except (OSError, WireError) as error:
            yield {"error": f"{path.stem} does not answer: {error}", "exit_code": 1}
        else:
            yield answer


def ask_one(folder: Path, fields: Mapping[str, Any], payload: bytes = b"") -> Any:  # noqa: ANN401  # JSON
    """The answer of the run that can do it.

    Raises:
        LabError: none can, or none runs.
    """
    error = LabError("no fleet runs; start one: fleet-lab fleet run FILE", EXIT_USAGE)
    for answer in ask_all(folder, fields, payload):
        if "answer" in answer:
            return answer["answer"]
        error = LabError(answer["error"], answer["exit_code"])
    raise error


def _ask(path: Path, request: bytes) -> Frame:
    decoder = Decoder()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(ANSWER_TIMEOUT_S)
        connection.connect(str(path))
        connection.sendall(request)
        while chunk := connection.recv(_READ_BYTES):
            for frame in decoder.receive(chunk):
                return frame
    raise WireError("it closed the connection")
