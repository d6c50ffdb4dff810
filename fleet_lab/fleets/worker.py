"""One worker process of a fleet: `python -m fleet_lab.fleets.worker SOCKET NAME`.

It connects to the fleet's Unix socket, says its name, and does what it is asked until the
connection ends: a fleet that is gone leaves no worker behind.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Coroutine
from typing import Any, Final

import uvloop

from fleet_lab.errors import EXIT_USAGE, LabError
from fleet_lab.fleets.service import ShardService
from fleet_lab.fleets.wire import Decoder, encode

_READ_BYTES: Final = 1 << 18


class Worker:
    """Reads requests, answers each under its number; slow ones do not hold up others."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._service = ShardService()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, name: str) -> None:
        """Serve until the fleet is gone."""
        self._writer.write(encode({"hello": name}))
        decoder = Decoder()
        while chunk := await self._reader.read(_READ_BYTES):
            for fields, _ in decoder.receive(chunk):
                self._start(self._answer(fields), f"{fields.get('what')} {fields.get('request')}")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._service.request("stop", {})

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, fields: dict[str, Any]) -> None:
        answer: dict[str, Any] = {"answer": fields["request"]}
        attachment = b""
        try:
            result, attachment = await self._service.request(fields["what"], fields["fields"])
        except LabError as error:
            answer |= {"error": error.text, "exit_code": error.exit_code}
        except Exception as error:  # noqa: BLE001  # supervisor: one bad request ends no worker
            answer |= {"error": f"{type(error).__name__}: {error}", "exit_code": 1}
        else:
            answer["fields"] = result
        self._writer.write(encode(answer, attachment))


async def _serve(socket_path: str, name: str) -> None:
    reader, writer = await asyncio.open_unix_connection(socket_path, limit=_READ_BYTES)
    try:
        await Worker(reader, writer).run(name)
    finally:
        writer.close()


def main() -> int:
    """Run until the fleet closes the connection."""
    if len(sys.argv) != 3:  # noqa: PLR2004  # program, socket, name
        sys.stderr.write("usage: python -m fleet_lab.fleets.worker SOCKET NAME\n")
        return EXIT_USAGE
    # Ctrl-C reaches the whole group of the terminal; the fleet decides when its workers end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    uvloop.run(_serve(sys.argv[1], sys.argv[2]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
