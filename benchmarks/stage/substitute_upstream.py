"""The stand-in of a control plane in Python: what `native/upstream.c` does, without a compiler."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from aiomqtt import Client, MqttError

from module_gateway.protocol import external_protocol_pb2 as pb
from module_gateway.protocol import internal_protocol_pb2 as internal

RETRY_S: Final = 0.01
COUNTED: Final = (
    "statuses", "running", "connecting", "left", "sessions", "strangers", "unreadable", "missing",
    "backwards", "announced", "subscribed_ns", "connect_ns", "first_status_ns", "ready_ns",
)  # fmt: skip


class StandIn:
    """One vehicle's peer: the connect sequence and the acknowledgements."""

    def __init__(self, host: str, port: int, company: str, vehicle: str) -> None:
        self._host, self._port, self._base = host, port, f"{company}/{vehicle}"
        self._session = ""
        self._devices: list[internal.Device] = []
        self._first = self._answers = 0
        self._reset()

    def _reset(self) -> None:
        self._seen = dict.fromkeys(COUNTED, 0)
        self._numbers: dict[str, int] = {}
        self._arrivals: list[int] = []

    async def serve(self) -> None:
        """Connect, answer, come back when the broker goes."""
        while True:
            try:
                async with Client(self._host, self._port, max_queued_outgoing_messages=0) as client:
                    await self._serve_on(client)
            except MqttError:
                await asyncio.sleep(RETRY_S)

    async def _serve_on(self, client: Client) -> None:
        self._session = ""
        await client.subscribe(f"{self._base}/module_gateway", 1)
        self._seen["subscribed_ns"] = time.monotonic_ns()
        await client.publish(f"{self._base}/external_server_disconnect", b"", 1)
        async for message in client.messages:
            envelope = pb.ExternalClient()
            envelope.ParseFromString(bytes(message.payload))  # type: ignore[arg-type]
            for answer in self._answers_to(envelope, time.monotonic_ns()):
                topic = f"{self._base}/external_server"
                await client.publish(topic, answer.SerializeToString(), 1)

    def _answers_to(self, message: pb.ExternalClient, now_ns: int) -> list[pb.ExternalServer]:
        match message.WhichOneof("MessageType"):
            case "connect":
                return [self._accept(message.connect, now_ns)]
            case "status":
                return self._take(message.status, now_ns)
            case "commandResponse":
                self._answers += 1
                if self._answers == len(self._devices):
                    self._seen["ready_ns"] = now_ns
            case _:
                self._seen["unreadable"] += 1
        return []

    def _accept(self, connect: pb.Connect, now_ns: int) -> pb.ExternalServer:
        self._session, self._devices = connect.sessionId, list(connect.devices)
        self._first = self._answers = 0
        self._seen["announced"] = len(self._devices)
        self._seen["sessions"] += 1
        self._seen["connect_ns"] = self._seen["connect_ns"] or now_ns
        answer = pb.ExternalServer()
        answer.connectResponse.sessionId = self._session
        return answer

    def _take(self, status: pb.Status, now_ns: int) -> list[pb.ExternalServer]:
        if status.sessionId != self._session:
            self._seen["strangers"] += 1
            return []
        self._arrivals.append(now_ns)
        self._seen["statuses"] += 1
        self._seen["first_status_ns"] = self._seen["first_status_ns"] or now_ns
        self._check_order(status.deviceStatus)
        answer = pb.ExternalServer()
        answer.statusResponse.sessionId = self._session
        answer.statusResponse.messageCounter = status.messageCounter
        states = {pb.Status.RUNNING: "running", pb.Status.DISCONNECT: "left"}
        if status.deviceState in states:
            self._seen[states[status.deviceState]] += 1
            return [answer]
        self._seen["connecting"] += 1
        self._first += 1
        return [answer, *(self._commands() if self._first == len(self._devices) else ())]

    def _check_order(self, status: internal.DeviceStatus) -> None:
        number = json.loads(status.statusData).get("n", 0)
        last = self._numbers.get(status.device.deviceRole, 0)
        self._seen["backwards"] += number < last
        self._seen["missing"] += max(0, number - last - 1) if last else 0
        self._numbers[status.device.deviceRole] = number

    def _commands(self) -> list[pb.ExternalServer]:
        answers = []
        for counter, device in enumerate(self._devices):
            answer = pb.ExternalServer()
            answer.command.sessionId, answer.command.messageCounter = self._session, counter
            answer.command.deviceCommand.device.CopyFrom(device)
            answers.append(answer)
        return answers

    async def obey(self, words: Sequence[str]) -> str:
        """A command of `upstream.c`."""
        if words[0] == "reset":
            self._reset()
            return "{}"
        if words[0] == "window":
            return self._window(int(words[1]), int(words[2]))
        return json.dumps(self._seen | {"own_cpu_s": time.process_time()})

    def _window(self, from_ns: int, to_ns: int) -> str:
        inside = [each for each in self._arrivals if from_ns <= each <= to_ns]
        marks = [from_ns, *inside, to_ns]
        longest_ns = max(later - earlier for earlier, later in pairwise(marks))
        return json.dumps(
            {
                "statuses": len(inside),
                "per_s": len(inside) / (to_ns - from_ns) * 1e9,
                "longest_pause_ms": longest_ns / 1e6,
            }
        )
