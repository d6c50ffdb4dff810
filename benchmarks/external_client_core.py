"""What one forwarded status costs the external client, without MQTT.

    python -m benchmarks.external_client_core [--devices 100] [--statuses 50000] [--batch 16]

Each status goes the whole way: a batch of the bus is read, its deliveries enter the ledger, their
statuses leave as MQTT payloads, the control plane's acknowledgements come back as payloads, and
what the handler is told is encoded for the bus. The ratio compares with parsing one delivery and
one acknowledgement and writing one status, so it means the same on any machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections import deque
from typing import Any, cast

import uvloop

from module_gateway.bus import batch
from module_gateway.bus.address import Address
from module_gateway.bus.memory import MemoryBroker
from module_gateway.external_client.client import ExternalClient
from module_gateway.external_client.endpoint_task import EndpointTask
from module_gateway.external_client.events import BrokerUp
from module_gateway.modules.containment import ContainedModule
from module_gateway.modules.transparent import TransparentModule
from module_gateway.protocol import bus_pb2
from module_gateway.protocol import external_protocol_pb2 as pb
from module_gateway.protocol.external import (
    ClientMessage,
    Command,
    CommandResponse,
    Connect,
    ConnectResponse,
    ServerMessage,
    Status,
    StatusResponse,
    decode_client_message,
    encode,
)
from module_gateway.protocol.identity import Device
from module_gateway.runtime.settings import Endpoint, ExternalConnection, Settings

MODULE = 7
STORE = 11
HANDLER = Address(bus_pb2.MODULE_HANDLER, 2)
PAYLOAD = b'{"pressed": true, "filler": "%06d"}'


class Upstream:
    """Has the shape of the client's `Upstream`; keeps what is published."""

    def __init__(self) -> None:
        self.published: deque[bytes] = deque()

    def publish(self, payload: bytes) -> None:
        """Take a payload."""
        self.published.append(payload)


class Handlers:
    """Has the shape of the client's `Link`; encodes what is sent, as the real one does."""

    def __init__(self) -> None:
        self.told = 0
        self.acknowledged = 0

    def send(self, _receiver: Address, message: bus_pb2.Message) -> bool:
        """Take a message."""
        batch.encode_entry(message)
        self.told += 1
        self.acknowledged += message.WhichOneof("body") == "outbox_ack"
        return True


class Bench:
    """One endpoint in a running session, and both of its neighbours."""

    def __init__(self, devices: int, window: int) -> None:
        endpoint = Endpoint(server_ip="127.0.0.1", port=1, modules=(MODULE,))
        connection = ExternalConnection(company="acme", vehicle_name="van", endpoints=(endpoint,))
        settings = Settings(external_connection=connection)
        own = settings.external_client_settings.model_copy(
            update={"settle_ms": 0, "unacknowledged": window}
        )
        settings = settings.model_copy(update={"external_client_settings": own})
        modules = {MODULE: ContainedModule(TransparentModule(), MODULE)}
        self.client = ExternalClient(settings, modules, MemoryBroker().bus(), epoch=1)
        self.task: EndpointTask = self.client.endpoints[0]
        self.upstream = Upstream()
        self.handlers = Handlers()
        self.task._upstream = cast("Any", self.upstream)  # noqa: SLF001  # a bench's own seam
        self.task._link = cast("Any", self.handlers)  # noqa: SLF001
        self.topic = self.task._target.topics.to_gateway  # noqa: SLF001
        self.devices = [Device.of(MODULE, 0, f"d{n}", f"Device {n}") for n in range(devices)]
        self.delivered = 0
        self.session = ""

    async def begin(self) -> None:
        """The lease, the snapshot and the connect sequence."""
        presence = bus_pb2.Presence()
        presence.served.add(module=MODULE, partitions=2**64 - 1)
        self.client.peer_up(HANDLER, presence)
        granted = bus_pb2.Message()
        granted.lease_granted.epoch, granted.lease_granted.store_id = 1, STORE
        self.say(granted)
        self.say(self.snapshot(0))
        self.task.feed(BrokerUp())
        for request in range(1, 4):
            self.say(self.snapshot(request))
        while not self.task.endpoint.is_up:
            await asyncio.sleep(0)
            while self.upstream.published:
                for answer in self.answers(
                    decode_client_message(self.upstream.published.popleft())
                ):
                    self.task._received(self.topic, encode(answer))  # noqa: SLF001

    def snapshot(self, request: int) -> bus_pb2.Message:
        """Every device is registered."""
        message = bus_pb2.Message()
        snapshot = message.snapshot
        snapshot.epoch, snapshot.request = 1, request
        snapshot.is_first = snapshot.is_last = True
        for device in self.devices:
            device.write_to(snapshot.registered.add(status=PAYLOAD % 0).device)
        return message

    def answers(self, message: ClientMessage) -> list[ServerMessage]:
        """A control plane that takes everything."""
        match message:
            case Connect():
                self.session = message.session_id
                return [ConnectResponse(self.session, 0)]
            case Status():
                answer: list[ServerMessage] = [StatusResponse(self.session, 0, message.counter)]
                if message.counter == len(self.devices):
                    answer += [Command(self.session, n, d, b"") for n, d in enumerate(self.devices)]
                return answer
            case CommandResponse():
                return []

    def say(self, *messages: bus_pb2.Message) -> None:
        """One batch of the handler."""
        self.client.received(HANDLER, messages)

    def batches(self, statuses: int, size: int) -> list[bytes]:
        """Bus payloads with one different status each, devices in turn."""
        header = batch.encode_header(HANDLER)
        payloads: list[bytes] = []
        entries: deque[bytes] = deque()
        for number in range(1, statuses + 1):
            message = bus_pb2.Message()
            delivery = message.delivery
            delivery.epoch, delivery.delivery = 1, self.delivered + number
            delivery.sequence = self.delivered + number
            delivery.status = PAYLOAD % (number % 1_000_000)
            delivery.time_unix_ms = 1_700_000_000_000
            self.devices[number % len(self.devices)].write_to(delivery.device)
            entries.append(batch.encode_entry(message))
            if len(entries) == size or number == statuses:
                payloads.append(batch.pack(header, entries, 1 << 30)[0])
        self.delivered += statuses
        return payloads

    async def forward(self, payloads: list[bytes], statuses: int) -> float:
        """CPU seconds for all of them, until the last one is acknowledged."""
        first = self.task.endpoint.session.sender._next_counter  # type: ignore[union-attr]  # noqa: SLF001
        answers = [
            encode(StatusResponse(self.session, 0, first + number)) for number in range(statuses)
        ]
        answered = 0
        start = time.process_time()
        for payload in payloads:
            self.client.received(*batch.decode(payload))
            await asyncio.sleep(0)
            while self.upstream.published:
                count = len(self.upstream.published)
                self.upstream.published.clear()
                for answer in answers[answered : answered + count]:
                    self.task._received(self.topic, answer)  # noqa: SLF001
                answered += count
                await asyncio.sleep(0)
                await asyncio.sleep(0)
        took_s = time.process_time() - start
        if answered != statuses:
            raise RuntimeError(f"{answered} of {statuses} statuses were published")
        return took_s


def calibrate(rounds: int) -> float:
    """CPU seconds for the protobuf work alone."""
    message = bus_pb2.Message()
    message.delivery.status = PAYLOAD % 1
    Device.of(MODULE, 0, "d1", "Device 1").write_to(message.delivery.device)
    delivery = message.SerializeToString()
    answer = encode(StatusResponse("abcdefgh", 0, 1))
    start = time.process_time()
    for _ in range(rounds):
        bus_pb2.Message.FromString(delivery)
        pb.ExternalServer.FromString(answer)
        written = pb.ExternalClient()
        written.status.sessionId = "abcdefgh"
        written.status.deviceStatus.statusData = PAYLOAD
        written.SerializeToString()
    return time.process_time() - start


async def measure(devices: int, statuses: int, size: int, window: int) -> dict[str, float]:
    """Microseconds per status, and the ratio to the protobuf work alone."""
    bench = Bench(devices, window)
    await bench.begin()
    await bench.forward(bench.batches(statuses // 10, size), statuses // 10)
    payloads = bench.batches(statuses, size)
    bench.handlers.told = bench.handlers.acknowledged = 0
    took_s = await bench.forward(payloads, statuses)
    return {
        "us_per_status": took_s / statuses * 1e6,
        "ratio": took_s / calibrate(statuses),
        "messages_to_handler_per_status": bench.handlers.told / statuses,
    }


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--devices", type=int, default=100)
    parser.add_argument("--statuses", type=int, default=50_000)
    parser.add_argument("--batch", type=int, default=16, help="deliveries per bus message")
    parser.add_argument("--window", type=int, default=16, help="unacknowledged statuses")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    result = uvloop.run(measure(args.devices, args.statuses, args.batch, args.window))
    if args.json:
        print(json.dumps(result))
    else:
        print(", ".join(f"{name} {value:.2f}" for name, value in result.items()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
