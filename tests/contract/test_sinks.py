"""What every sink promises, asked of each of them with a real far side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fleet_lab.devices.api import Device
from fleet_lab.devices.generators import Stream
from fleet_lab.errors import LabError
from fleet_lab.sinks.api import Sink
from fleet_lab.sinks.urls import sink_factory
from tests.contract.sink_peers import PEERS, Peer
from tests.unit.fleet_lab.sinks.ports import RecordingPort

REMOTE = [name for name, peer in PEERS.items() if not peer.is_local]


class Opened:
    """A sink, its port and its peer."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.port = RecordingPort(Device("probe", Stream(1)))
        self.sink: Sink = sink_factory(peer.url)()

    async def publish(self, number: int, payload: bytes) -> None:
        """Publish and wait until it is answered."""
        before = len(self.port.all("answered"))
        assert self.sink.can_publish
        self.sink.publish(number, payload)
        await self.port.saw("answered", before + 1)


@pytest.fixture
async def opened(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Opened]:
    peer = PEERS[request.param](tmp_path)
    await peer.start()
    together = Opened(peer)
    await together.sink.open(together.port)
    yield together
    await together.sink.close()
    await peer.stop()


def every_sink(names: list[str]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("opened", names, indirect=True)


@every_sink(list(PEERS))
async def test_statuses_arrive_in_order_and_each_is_answered_once(opened: Opened) -> None:
    assert opened.port.said == [("connected",)]
    payloads = [b'{"n": %d, "word": "\xc4\x8d"}' % number for number in range(1, 21)]
    for number, payload in enumerate(payloads, 1):
        await opened.publish(number, payload)
    assert await opened.peer.got(20) == payloads
    assert opened.port.said[1:] == [("answered", n, b"", True) for n in range(1, 21)]


@every_sink(REMOTE)
@pytest.mark.parametrize("payload", [b"", b"\x00\x01\xff\xfe8=FIX\x0110=000\x01", b"x" * 200_000])
async def test_any_bytes_arrive_unchanged(opened: Opened, payload: bytes) -> None:
    await opened.publish(1, payload)
    await opened.publish(2, b"after")
    assert await opened.peer.got(2) == [payload, b"after"]


@every_sink(REMOTE)
async def test_a_command_arrives(opened: Opened) -> None:
    await opened.peer.command(b'{"command": "reset"}')
    await opened.publish(1, b"{}")
    async with asyncio.timeout(30):
        while not commands(opened.port):
            await opened.port.saw("commanded")
    assert commands(opened.port) == [b'{"command": "reset"}']


def commands(port: RecordingPort) -> list[object]:
    with_answers = [said[1] for said in port.all("answered") if said[1]]
    return [*with_answers, *(said[0] for said in port.all("commanded"))]


@every_sink(REMOTE)
async def test_it_comes_back_after_its_peer_did(opened: Opened) -> None:
    await opened.publish(1, b"before")
    await opened.peer.stop()
    if not opened.peer.notices_by_itself:
        opened.sink.publish(2, b"into the void")
    await opened.port.saw("disconnected")
    assert not opened.sink.can_publish
    opened.sink.publish(3, b"too early")
    assert opened.port.all("failed")[-1] == (3, "not connected")
    await opened.peer.start()
    await opened.port.saw("connected", 2)
    await opened.publish(4, b"after")
    assert await opened.peer.got(2) == [b"before", b"after"]
    assert len(opened.port.all("disconnected")) == 1


@every_sink(list(PEERS))
async def test_closing_is_silent_and_may_be_repeated(opened: Opened) -> None:
    await opened.publish(1, b"{}")
    said = list(opened.port.said)
    await opened.sink.close()
    await opened.sink.close()
    assert not opened.sink.can_publish
    opened.sink.publish(2, b"late")
    await opened.peer.stop()
    assert opened.port.said == said
    assert [t for t in asyncio.all_tasks() if t.get_name().startswith("probe")] == []


@pytest.mark.parametrize("name", REMOTE)
async def test_an_unreachable_peer_is_one_line(name: str, tmp_path: Path) -> None:
    sink, port = sink_factory(PEERS[name](tmp_path).url)(), RecordingPort()
    with pytest.raises(LabError, match=r"^cannot reach [^\n]+: Connection refused$") as caught:
        await sink.open(port)
    assert caught.value.exit_code == 1
    assert (port.said, sink.can_publish) == ([], False)
    await sink.close()
