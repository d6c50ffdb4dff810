from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from fleet_lab.fleets.wire import Decoder, Frame, encode


class Parent:
    """The fleet's side of the socket."""

    def __init__(self) -> None:
        self.frames: asyncio.Queue[Frame] = asyncio.Queue()
        self.writer: asyncio.StreamWriter | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        decoder = Decoder()
        while chunk := await reader.read(65536):
            for frame in decoder.receive(chunk):
                self.frames.put_nowait(frame)

    async def ask(self, number: int, what: str) -> Frame:
        self.writer.write(encode({"request": number, "what": what, "fields": {}}))
        return await self.frames.get()


async def run_worker(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "fleet_lab.fleets.worker", *arguments),
        stderr=asyncio.subprocess.PIPE,
    )


async def test_it_says_its_name_answers_by_number_and_ends_with_the_connection(
    tmp_path: Path,
) -> None:
    parent, path = Parent(), str(tmp_path / "socket")
    server = await asyncio.start_unix_server(parent.serve, path)
    process = await run_worker(path, "cars-1")
    assert ({"hello": "cars-1"}, b"") == await parent.frames.get()
    fields, _ = await parent.ask(7, "take")
    assert (7, {"counts": {}, "problems": [], "meters": []}) == (fields["answer"], fields["fields"])
    refused, _ = await parent.ask(8, "dance")
    assert {"answer": 8, "error": "a worker cannot 'dance'", "exit_code": 1} == refused
    broken, _ = await parent.ask(9, "start")
    assert "KeyError" in broken["error"], "a bad request ends no worker"
    parent.writer.close()
    async with asyncio.timeout(30):
        assert (b"", 0) == ((await process.communicate())[1], process.returncode)
    server.close()


async def test_wrong_usage_is_exit_code_2() -> None:
    process = await run_worker("only-one")
    _, error = await process.communicate()
    assert (2, b"usage: python -m fleet_lab.fleets.worker SOCKET NAME\n") == (
        process.returncode,
        error,
    )
