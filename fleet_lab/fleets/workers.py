"""Worker processes of this machine, spoken to over a Unix socket."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fleet_lab.errors import LabError
from fleet_lab.fleets.board import Board
from fleet_lab.fleets.ports import WorkerLostError, WorkerPort
from fleet_lab.fleets.wire import Decoder, Frame, WireError, encode

START_TIMEOUT_S: Final = 30.0
END_TIMEOUT_S: Final = 5.0
_READ_BYTES: Final = 1 << 20


class ProcessWorker:
    """A child process and its connection."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self.connected: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._process = process
        self._writer: asyncio.StreamWriter | None = None
        self._requests = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Frame]] = {}
        self._is_gone = False

    @property
    def place(self) -> str:
        """Which process."""
        return f"pid {self._process.pid}"

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    async def request(self, what: str, fields: Mapping[str, Any]) -> Frame:
        """As in WorkerPort."""
        if self._writer is None or self._is_gone:
            raise WorkerLostError("it ended")
        number = next(self._requests)
        answer: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        self._writer.write(encode({"request": number, "what": what, "fields": dict(fields)}))
        try:
            return await answer
        finally:
            self._answers.pop(number, None)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read answers until the worker is gone."""
        self._writer = writer
        if not self.connected.done():
            self.connected.set_result(None)
        decoder = Decoder()
        try:
            while chunk := await reader.read(_READ_BYTES):
                for fields, attachment in decoder.receive(chunk):
                    self._answered(fields, attachment)
        except (ConnectionError, WireError):
            pass  # as gone as one whose connection ended
        finally:
            self._gone()

    def _answered(self, fields: dict[str, Any], attachment: bytes) -> None:
        answer = self._answers.get(fields.get("answer", 0))
        if answer is None or answer.done():
            return
        if "error" in fields:
            answer.set_exception(LabError(fields["error"], fields["exit_code"]))
        else:
            answer.set_result((fields["fields"], attachment))

    def _gone(self) -> None:
        self._is_gone = True
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(WorkerLostError("it ended"))

    async def kill(self) -> None:
        """At once."""
        self._gone()
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def end(self) -> None:
        """Close the connection, which ends the worker; kill one that does not go."""
        self._gone()
        if self._writer is not None:
            self._writer.close()
        try:
            async with asyncio.timeout(END_TIMEOUT_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


class ProcessPlacer:
    """Starts worker processes; one socket and one board for all of a fleet."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="fleet-lab-"))
        self._board = Board(self._folder / "board")
        self._server: asyncio.Server | None = None
        self._opening = asyncio.Lock()
        self._workers: dict[str, ProcessWorker] = {}
        self._number = itertools.count(1)

    @property
    def board(self) -> str:
        """Path of the board."""
        return str(self._folder / "board")

    def last_number(self, index: int) -> int:
        """From the board: exact, also for what a killed worker did not tell."""
        return self._board[index]

    async def place(self, name: str) -> ProcessWorker:
        """Start one process and wait until it is connected.

        Raises:
            LabError: it does not start.
        """
        socket_path = str(self._folder / "workers.sock")
        async with self._opening:
            if self._server is None:
                self._server = await asyncio.start_unix_server(self._greet, socket_path)
        unique = f"{name}.{next(self._number)}"
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "fleet_lab.fleets.worker", socket_path, unique),
            stdin=asyncio.subprocess.DEVNULL,
        )
        worker = ProcessWorker(name, process)
        self._workers[unique] = worker
        ended = asyncio.ensure_future(process.wait())
        try:
            await asyncio.wait(
                (worker.connected, ended),
                timeout=START_TIMEOUT_S,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            ended.cancel()
        if not worker.connected.done():
            worker.connected.cancel()
            await worker.end()
            raise LabError(f"worker {name} did not start within {START_TIMEOUT_S:g} s")
        return worker

    async def revive(self, worker: WorkerPort) -> None:
        """Never: a process that ended stays so."""
        del worker

    async def close(self) -> None:
        """Remove socket and board."""
        if self._server is not None:
            self._server.close()
        self._board.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The first frame says which worker it is."""
        decoder = Decoder()
        try:
            frames: list[Frame] = []
            while not frames and (chunk := await reader.read(_READ_BYTES)):
                frames = list(decoder.receive(chunk))
            worker = self._workers.get(str(frames[0][0].get("hello"))) if frames else None
            if worker is not None:
                await worker.serve(reader, writer)
        except (ConnectionError, WireError):
            pass  # a stranger
        finally:
            writer.close()
