"""Statuses over FIX 4.4; `answered` is the Heartbeat to the TestRequest that follows a status."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from typing import Final, assert_never

from fleet_lab.sinks.api import DevicePort, SinkUrl
from fleet_lab.sinks.fix_session import (
    HEARTBEAT_S,
    Acknowledged,
    Commanded,
    Ended,
    Event,
    FixSession,
    LoggedOn,
    Rejected,
    Send,
)
from fleet_lab.sinks.retry import OPEN_TIMEOUT_S, REPLY_TIMEOUT_S
from fleet_lab.sinks.session import LostError, SessionSink, until_one_ends

SILENCE_MAX_S: Final = 2.4 * HEARTBEAT_S
"""Two heartbeats and some: the session protocol leaves "reasonable transmission time" open."""
_CHUNK_BYTES: Final = 65536
_NOT_OF_A_NAME: Final = re.compile(r"[^!-~]")


class FixSink(SessionSink):
    """`fix://HOST:PORT[/TARGET]`: SenderCompID is the device's id, TargetCompID is TARGET."""

    __slots__ = ("_answers",)

    def __init__(self, url: SinkUrl) -> None:
        super().__init__(url)
        self._answers: asyncio.Queue[Acknowledged | Rejected] = asyncio.Queue()

    async def _live(self, port: DevicePort) -> None:
        self._answers = asyncio.Queue()
        session = FixSession(
            _NOT_OF_A_NAME.sub("_", port.device.id), self.url.path.strip("/") or "GATEWAY"
        )
        async with asyncio.timeout(OPEN_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(self.url.host, self.url.port)
        logged_on = asyncio.Event()
        try:
            writer.write(session.logon(_now()))
            await until_one_ends(
                port.device.id,
                self._read(session, reader, writer, port, logged_on),
                self._write(session, writer, port, logged_on),
            )
        finally:
            if not writer.is_closing():
                writer.write(session.logout(_now()))
            writer.close()

    async def _read(
        self,
        session: FixSession,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        port: DevicePort,
        logged_on: asyncio.Event,
    ) -> None:
        while True:
            async with asyncio.timeout(SILENCE_MAX_S if logged_on.is_set() else OPEN_TIMEOUT_S):
                chunk = await reader.read(_CHUNK_BYTES)
            if not chunk:
                raise LostError("closed by the counterparty")
            for event in session.receive(chunk, _now()):
                self._react(event, writer, port, logged_on)

    def _react(
        self,
        event: Event,
        writer: asyncio.StreamWriter,
        port: DevicePort,
        logged_on: asyncio.Event,
    ) -> None:
        match event:
            case Send(frame):
                writer.write(frame)
            case LoggedOn():
                logged_on.set()
                self._stands(port)
            case Acknowledged() | Rejected():
                self._answers.put_nowait(event)
            case Commanded(payload):
                port.commanded(payload)
            case Ended(reason):
                raise LostError(reason)
            case _:
                assert_never(event)

    async def _write(
        self,
        session: FixSession,
        writer: asyncio.StreamWriter,
        port: DevicePort,
        logged_on: asyncio.Event,
    ) -> None:
        await logged_on.wait()
        while True:
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    number, payload = await self._outgoing.get()
            except TimeoutError:
                writer.write(session.heartbeat(_now()))
                continue
            writer.write(session.status(number, payload, _now()))
            async with asyncio.timeout(REPLY_TIMEOUT_S):
                await writer.drain()
                answer = await self._answers.get()
            if isinstance(answer, Rejected):
                port.failed(number, f"rejected: {answer.text}")
            else:
                self._took(port, number)


def _now() -> datetime:
    return datetime.now(UTC)
