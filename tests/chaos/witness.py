"""Somebody beside the control plane who writes down what the gateway says upstream.

It knows the generated protobuf classes only, so a misunderstanding in the gateway's own protocol
code cannot hide in it, and its subscription is its own: it slows nobody down.
"""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from typing import Any, Final, NamedTuple, Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from module_gateway.protocol import external_protocol_pb2 as pb

CONNECTING: Final = pb.Status.DeviceState.CONNECTING
DISCONNECT: Final = pb.Status.DeviceState.DISCONNECT
START_LIMIT_S: Final = 30.0


class Heard(NamedTuple):
    """One status of a device; `number` is its `n`, `at` monotonic seconds.

    `is_marker`: it carries no entry of an outbox, and only says again what was said.
    """

    at: float
    state: int
    number: int
    error: bytes | None
    is_replayed: bool
    is_live: bool
    is_marker: bool = False


class Witness:
    """Listens while it is a context. `heard` is complete up to what the broker has passed on."""

    def __init__(self, port: int, company: str, vehicle: str) -> None:
        self.heard: defaultdict[str, list[Heard]] = defaultdict(list)
        self.statuses = 0
        self.newest: defaultdict[str, int] = defaultdict(int)
        """The highest number of each role."""
        self.faults: list[str] = []
        self._topic = f"{company}/{vehicle}/module_gateway"
        self._port = port
        self._listening = threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.on_connect = self._subscribe
        self._client.on_subscribe = lambda *_: self._listening.set()
        self._client.on_message = self._note
        self._client.on_disconnect = lambda *_: self.faults.append("the witness was cut off")

    def __enter__(self) -> Self:
        self._client.connect("127.0.0.1", self._port)
        self._client.loop_start()
        if not self._listening.wait(START_LIMIT_S):
            raise AssertionError("the witness cannot listen")
        return self

    def __exit__(self, *_: object) -> None:
        self._client.on_disconnect = None
        self._client.disconnect()
        self._client.loop_stop()

    def _subscribe(self, client: mqtt.Client, *_: Any) -> None:
        client.subscribe(self._topic, qos=0)

    def _note(self, _client: mqtt.Client, _user: object, message: mqtt.MQTTMessage) -> None:
        now = time.monotonic()
        envelope = pb.ExternalClient.FromString(bytes(message.payload))
        if envelope.WhichOneof("MessageType") != "status":
            return
        status = envelope.status
        role = status.deviceStatus.device.deviceRole
        number = json.loads(status.deviceStatus.statusData)["n"]
        error = status.errorMessage if status.HasField("errorMessage") else None
        self.heard[role].append(
            Heard(
                *(now, status.deviceState, number, error, status.replayed, status.live),
                is_marker=not status.sequence,
            )
        )
        self.newest[role] = max(self.newest[role], number)
        self.statuses += 1
