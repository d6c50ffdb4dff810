"""The programs of the benchmarks speak the protocol: judged by the gateway's own code."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from benchmarks.stage.programs import Program, Toolbox, build
from module_gateway.modules.car_accessory import CarAccessoryModule
from module_gateway.protocol.framing import HEADER_SIZE_BYTES, FrameDecoder
from module_gateway.protocol.identity import Device
from module_gateway.protocol.internal import (
    DeviceCommand,
    DeviceConnect,
    DeviceConnectResponse,
    DeviceStatus,
    decode_client_message,
    decode_server_message,
    encode_command,
    encode_connect,
    encode_connect_response,
    encode_status,
)
from tests.brokers import MosquittoBroker
from tests.scripted_vehicle import BUTTON, LAMP, scripted_vehicle

DEVICE = Device.of(1001, 0, "lamp", "lamp1", 2)


@pytest.fixture(scope="module", params=[True, False], ids=["native", "python"])
def toolbox(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Toolbox:
    return build(tmp_path_factory.mktemp("native"), has_compiler=request.param)


@dataclass
class Witness:
    """A gateway that notes what it gets."""

    connects: list[Device] = field(default_factory=list)
    statuses: list[DeviceStatus] = field(default_factory=list)
    sizes: set[int] = field(default_factory=set)
    split_replies: bool = False
    broken: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        decoder = FrameDecoder()
        try:
            while chunk := await reader.read(4096):
                decoder.receive(chunk)
                while (frame := decoder.next_frame()) is not None:
                    for part in self._parts(self._answer(frame)):
                        writer.write(part)
                        await writer.drain()
                        await asyncio.sleep(0)
        except Exception:  # noqa: BLE001 - rubbish is expected from some devices
            self.broken += 1
        writer.close()

    def _answer(self, frame: bytes) -> bytes:
        match decode_client_message(frame):
            case DeviceConnect(device):
                self.connects.append(device)
                return encode_connect_response(device, 0)
            case DeviceStatus() as status:
                self.statuses.append(status)
                self.sizes.add(HEADER_SIZE_BYTES + len(frame))
                if not CarAccessoryModule().status_data_valid(status.status, 0):
                    raise ValueError("no module would take it")
                return encode_command(status.device, b'{"lit_up": true}')

    def _parts(self, answer: bytes) -> list[bytes]:
        return [answer[:3], answer[3:9], answer[9:]] if self.split_replies else [answer]


@asynccontextmanager
async def generator(toolbox: Toolbox, witness: Witness, devices: int) -> AsyncIterator[Program]:
    server = await asyncio.start_server(witness.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    program = Program(toolbox.command("load", "127.0.0.1", port, devices))
    try:
        yield program
    finally:
        await asyncio.to_thread(program.close)
        server.close()
        await server.wait_closed()


async def ask(program: Program, words: str) -> dict[str, object]:
    return await asyncio.to_thread(program.ask, words)


async def test_the_generator_sends_frames_that_our_decoder_and_module_accept(
    toolbox: Toolbox,
) -> None:
    witness = Witness()
    async with generator(toolbox, witness, 3) as program:
        connected = await ask(program, "connect")
        run = await ask(program, "run seconds=0.2 warm_s=0")

    assert connected["connected"] == 3
    expected = {Device.of(1001, 0, f"d{number:06}", f"d{number:06}") for number in range(3)}
    assert set(witness.connects) == expected
    assert {status.device for status in witness.statuses} == expected
    assert witness.sizes == {120}
    assert len({(status.device, status.status) for status in witness.statuses}) == 3
    assert (run["wrong"], run["closed"]) == (0, 0)
    assert 0 < int(str(run["answered"])) <= len(witness.statuses)


async def test_no_status_is_like_the_one_before_when_they_shall_differ(toolbox: Toolbox) -> None:
    witness = Witness(split_replies=True)
    async with generator(toolbox, witness, 1) as program:
        await ask(program, "connect")
        await ask(program, "run seconds=0.2 warm_s=0 different=1")

    payloads = [status.status for status in witness.statuses]
    assert len(payloads) > 10
    assert len(set(payloads)) == len(payloads)
    assert all(b'"n": %10d' % n in payload for n, payload in enumerate(payloads, 1))


async def test_the_open_loop_keeps_its_rate(toolbox: Toolbox) -> None:
    async with generator(toolbox, Witness(), 4) as program:
        await ask(program, "connect")
        run = await ask(program, "run seconds=1 warm_s=0 rate=100")

    assert 90 <= int(str(run["answered"])) + int(str(run["owed"])) <= 102


async def test_a_storm_is_over_when_everybody_was_answered_again(toolbox: Toolbox) -> None:
    witness = Witness()
    async with generator(toolbox, witness, 5) as program:
        await ask(program, "connect")
        storm = await ask(program, "storm devices=4")

    assert (storm["devices"], storm["served"]) == (4, 4)
    assert (len(witness.connects), len(witness.statuses)) == (9, 4)


async def test_rubbish_is_refused_by_our_decoder_and_nobody_else_suffers(toolbox: Toolbox) -> None:
    witness = Witness()
    async with generator(toolbox, witness, 1) as program:
        await ask(program, "connect")
        run = await ask(program, "run seconds=0.3 warm_s=0 rubbish=2 pause_ms=5")

    assert witness.broken > 2
    assert int(str(run["rubbish"])) > 2
    assert (run["wrong"], run["closed"]) == (0, 0)


@pytest.fixture
def calibration_port(toolbox: Toolbox) -> Iterator[int]:
    with Program(toolbox.command("calibration")) as program:
        yield int(program.read_line())


@pytest.mark.parametrize("piece", [1, 7, 1000])
async def test_the_calibration_gateway_answers_every_frame(
    calibration_port: int, piece: int
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", calibration_port)
    sent = encode_connect(DEVICE) + encode_status(DEVICE, b"one") + encode_status(DEVICE, b"two")
    decoder, answers = FrameDecoder(), []
    for start in range(0, len(sent), piece):
        writer.write(sent[start : start + piece])
        await writer.drain()
    async with asyncio.timeout(30):
        while len(answers) < 3:
            decoder.receive(await reader.read(4096))
            while (frame := decoder.next_frame()) is not None:
                answers.append(decode_server_message(frame))
    writer.close()
    await writer.wait_closed()

    command = DeviceCommand(DEVICE, b"")
    assert answers == [DeviceConnectResponse(DEVICE, 0), command, command]


async def test_the_stand_in_follows_the_connect_sequence_and_acknowledges(
    toolbox: Toolbox, tmp_path: Path
) -> None:
    with MosquittoBroker(tmp_path, has_unix=False) as broker:
        assert broker.port is not None
        async with scripted_vehicle(broker.port) as vehicle:
            place = ("127.0.0.1", broker.port, "acme", "van")
            with Program(toolbox.command("upstream", *place)) as program:
                assert await vehicle.receive() is None, "it tells that it is there"
                await vehicle.run_sequence("Ab3dE5gH", [BUTTON, LAMP], b'{"n":          1}')
                for number in (2, 3, 5):
                    await vehicle.send_status(LAMP, b'{"n": %d}' % number)
                acknowledged = [await vehicle.receive_ack() for _ in range(3)]
                seen = await ask(program, "report")

    assert acknowledged == [3, 4, 5]
    counted = ("statuses", "running", "connecting", "sessions", "strangers", "announced")
    assert [seen[key] for key in counted] == [5, 3, 2, 1, 0, 2]


async def test_the_stand_in_sees_gaps_and_a_wrong_order(toolbox: Toolbox, tmp_path: Path) -> None:
    lamp = LAMP._replace(role="d000007")
    with MosquittoBroker(tmp_path, has_unix=False) as broker:
        assert broker.port is not None
        async with scripted_vehicle(broker.port) as vehicle:
            place = ("127.0.0.1", broker.port, "acme", "van")
            with Program(toolbox.command("upstream", *place)) as program:
                assert await vehicle.receive() is None
                begin_ns = time.monotonic_ns()
                await vehicle.run_sequence("Ab3dE5gH", [lamp], b'{"n":          1}')
                for number in (2, 5, 4, 4):
                    await vehicle.send_status(lamp, b'{"n": %d}' % number)
                    await vehicle.receive_ack()
                seen = await ask(program, "report")
                window = await ask(program, f"window {begin_ns} {time.monotonic_ns()}")

    assert (seen["missing"], seen["backwards"]) == (2, 1)
    assert window["statuses"] == 5
