"""Rows F4 and S2: what nobody should say, said to real processes, costs them nothing.

The bus has no access rules yet: who may speak there is trusted not to forge what is well-formed.
"""

from __future__ import annotations

import asyncio
import re
import resource
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Final

import paho.mqtt.client as mqtt
import pytest
from google.protobuf.message import DecodeError
from paho.mqtt.enums import CallbackAPIVersion

from module_gateway.bus import batch
from module_gateway.bus.address import PRESENCE_TOPIC, Address
from module_gateway.bus.location import socket_in
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.identity import Device, Identity
from module_gateway.protocol.internal import encode_connect, encode_status
from tests.brokers import free_port
from tests.chaos.footprint import COMPONENTS, metrics_of
from tests.chaos.kills import MODULE, all_answered
from tests.chaos.referee import Referee
from tests.chaos.wild_device import Line, WildDevice
from tests.integration.stack import Stack, configuration, running_stack

MESSAGES: Final = 50_000
AT_ONCE: Final = 500
DEVICES: Final = 10
LIMIT_S: Final = 180.0
MIB: Final = 1024 * 1024
ANSWER_LIMIT_S: Final = 20.0
DROPPED: Final = "module_gateway_bus_dropped_total{"
KINDS: Final = {
    "internal_server": bus_pb2.INTERNAL_SERVER,
    "module_handler": bus_pb2.MODULE_HANDLER,
    "external_client": bus_pb2.EXTERNAL_CLIENT,
}
NOBODY: Final = Address(bus_pb2.INTERNAL_SERVER, 2**63)

pytestmark = pytest.mark.timeout(LIMIT_S)


@asynccontextmanager
async def gateway(module: str, referee: Referee) -> AsyncIterator[tuple[Stack, list[WildDevice]]]:
    """A whole gateway with some honest devices, which must be answered rightly to the end."""
    modules = {str(MODULE): module}
    async with running_stack(configuration(free_port(), **{"module-paths": modules})) as stack:
        referee.is_wild = False
        fleet = [
            WildDevice(Identity(MODULE, 0, f"device_{n}"), stack.gateway, referee, Random(n))
            for n in range(DEVICES)
        ]
        running = [asyncio.create_task(each.run(), name=str(each.identity)) for each in fleet]
        before = [stack.pid_of(each) for each in COMPONENTS]
        try:
            await all_are_answered(fleet, referee)
            yield stack, fleet
            await all_are_answered(fleet, referee)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        assert referee.wrong == []
        assert before == [stack.pid_of(each) for each in COMPONENTS], "a process died"
        assert await stack.stop() == 0
        assert [line for line in stack.lines if re.search(r"Traceback|\[critical", line)] == []


async def all_are_answered(fleet: list[WildDevice], referee: Referee) -> None:
    now = asyncio.get_running_loop().time()
    await all_answered(fleet, referee, now)
    assert DEVICES == sum(at > now for at in referee.last_answers().values())


# ---- F4 --------------------------------------------------------------------------------------


def malformed(random: Random) -> bytes:
    """What no process of this version says."""
    while True:
        payload = random.choice((garbage, cut_off, of_another_version, of_no_sender, hollow))(
            random
        )
        if is_malformed(payload):
            return payload


def is_malformed(payload: bytes) -> bool:
    """As the schema says, not as the product reads it."""
    try:
        made = bus_pb2.Batch.FromString(payload)
    except DecodeError:
        return True
    return made.version != 1 or made.sender_kind not in {1, 2, 3, 4} or not made.sender_boot_id


def garbage(random: Random) -> bytes:
    return random.randbytes(random.choice((0, 1, 2, 30, 3_000)))


def sound(random: Random, sender: Address = NOBODY) -> bytes:
    message = bus_pb2.Message()
    message.status_request.instance = random.getrandbits(64)
    message.status_request.status = random.randbytes(random.randrange(300))
    return batch.encode_header(sender) + batch.encode_entry(message)


def cut_off(random: Random) -> bytes:
    whole = sound(random)
    return whole[: random.randrange(len(whole))]


def of_another_version(random: Random) -> bytes:
    made = bus_pb2.Batch.FromString(sound(random))
    made.version = random.choice((0, 2, 2**32 - 1))
    return made.SerializeToString()


def of_no_sender(random: Random) -> bytes:
    sender = random.choice((Address(0, 5), Address(99, 5), Address(bus_pb2.INTERNAL_SERVER, 0)))
    return sound(random, sender)


def hollow(random: Random) -> bytes:
    """A batch whose entries are no messages."""
    entry = random.randbytes(random.randrange(1, 100))
    return batch.encode_header(NOBODY) + b"\x22" + bytes([len(entry)]) + entry


def wrong_topics(random: Random) -> Iterator[str]:
    """Where nobody listens."""
    while True:
        yield random.choice(
            ("mg/1/presence/1", "mg/2/presence/0", "x", NOBODY.topic, "mg/1/tool/1")
        )


async def boot_topics(stack: Stack) -> dict[str, str]:
    """Where each process listens: its boot id is in its heartbeats."""
    loop = asyncio.get_running_loop()
    found: dict[str, str] = {}
    is_complete = asyncio.Event()

    def note(_client: mqtt.Client, _user: object, message: mqtt.MQTTMessage) -> None:
        sender, _ = batch.decode(message.payload)
        for component, kind in KINDS.items():
            if sender.kind == kind:
                found[component] = sender.topic
        if len(found) == len(KINDS):
            loop.call_soon_threadsafe(is_complete.set)

    listener = connected(stack)
    listener.on_message = note
    listener.subscribe(PRESENCE_TOPIC)
    async with asyncio.timeout(ANSWER_LIMIT_S):
        await is_complete.wait()
    listener.disconnect()
    listener.loop_stop()
    return found


def connected(stack: Stack) -> mqtt.Client:
    """Somebody else on the bus."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2, transport="unix")
    client.max_inflight_messages_set(AT_ONCE)
    client.connect(str(socket_in(stack.state_dir)))
    client.loop_start()
    return client


def flood(client: mqtt.Client, topics: dict[str, str], random: Random) -> Counter[str]:
    """Publish malformed messages to everybody; how many each process must have refused."""
    expected: Counter[str] = Counter()
    elsewhere = wrong_topics(random)
    for _ in range(MESSAGES // AT_ONCE):
        for _ in range(AT_ONCE):
            component = random.choice((*topics, "all", "nobody"))
            topic = {"all": PRESENCE_TOPIC, "nobody": next(elsewhere), **topics}[component]
            said = client.publish(topic, malformed(random), qos=1)
            for each in topics if component == "all" else (component,):
                expected[each] += 1
        said.wait_for_publish(ANSWER_LIMIT_S)
        assert said.is_published(), "the broker takes no more"
    return expected


async def refused(stack: Stack, component: str) -> float:
    counted = await metrics_of(stack, component)
    reasons = ("undecodable", "bus_version")
    return sum(counted.get(f'{DROPPED}reason="{reason}"}}', 0.0) for reason in reasons)


async def test_F4_malformed_bus_messages_are_refused_counted_and_harm_nobody() -> None:
    referee = Referee()
    async with gateway("tests.modules.echo:EchoModule", referee) as (stack, fleet):
        topics = await boot_topics(stack)
        client = connected(stack)
        try:
            expected = await asyncio.to_thread(flood, client, topics, Random(4))
        finally:
            client.disconnect()
            client.loop_stop()
        await all_are_answered(fleet, referee)
        for component in topics:
            async with asyncio.timeout(ANSWER_LIMIT_S):
                while await refused(stack, component) < expected[component]:
                    await asyncio.sleep(0.1)  # another process's progress
            assert expected[component] == await refused(stack, component), component


# ---- S2 --------------------------------------------------------------------------------------


def sizes_mib(pid: int) -> dict[str, float]:
    """The most that a process has ever had, resident (HWM) and of address space (Peak)."""
    text = Path(f"/proc/{pid}/status").read_text()
    return {word: int(size) / 1024 for word, size in re.findall(r"Vm(HWM|Peak):\s+(\d+) kB", text)}


async def announce(stack: Stack, length: int, number: int) -> None:
    """Begin a frame of this length; the gateway ends the connection and waits for no body."""
    device = Device.of(MODULE, 0, f"giant_{number}")
    streams = await asyncio.open_connection(stack.gateway.host, stack.gateway.port)
    line = Line(*streams, device)
    try:
        if number % 2:  # in its first frame, or in a later one
            line.write(encode_connect(device))
            assert await line.receive(ANSWER_LIMIT_S) is not None, "it is not accepted"
        line.write(length.to_bytes(4, "little") + b"\x0a")
        async with asyncio.timeout(ANSWER_LIMIT_S):
            assert await streams[0].read() == b""
    except ConnectionError:
        pass  # closed with a byte of ours unread
    finally:
        line.close()


async def test_S2_an_announced_frame_of_gigabytes_is_refused_and_no_memory_is_taken() -> None:
    referee = Referee()
    async with gateway("tests.modules.echo:EchoModule", referee) as (stack, _):
        pid = stack.pid_of("internal_server")
        before = sizes_mib(pid)
        lengths = (2**31, 2**32 - 1, 2**31 - 1, 1024 * 1024 + 1) * 10
        await asyncio.gather(*(announce(stack, each, n) for n, each in enumerate(lengths)))
        after = sizes_mib(pid)
        counted = await metrics_of(stack, "internal_server")
    grown = {word: after[word] - before[word] for word in after}
    print(grown)  # noqa: T201  # pytest shows it when the test fails
    assert grown["HWM"] < 16
    assert grown["Peak"] < 128
    reason = 'module_gateway_internal_server_closed_total{reason="frame_too_large"}'
    assert counted[reason] == len(lengths)


async def test_S2_a_module_that_wants_gigabytes_costs_its_own_device_a_reply() -> None:
    referee = Referee()
    async with gateway("tests.modules.greedy:GreedyModule", referee) as (stack, _):
        pid = stack.pid_of("module_handler")
        before = sizes_mib(pid)
        limit = int(before["Peak"] + 512) * MIB
        resource.prlimit(pid, resource.RLIMIT_AS, (limit, limit))
        device = Device.of(MODULE, 0, "glutton")
        streams = await asyncio.open_connection(stack.gateway.host, stack.gateway.port)
        line = Line(*streams, device)
        line.write(encode_connect(device))
        assert await line.receive(ANSWER_LIMIT_S) is not None
        for status in (b"first", b"allocate"):
            line.write(encode_status(device, status))
            answer = await line.receive(ANSWER_LIMIT_S)
        line.close()
        assert answer is None, "nothing was asked of the module"
        counted = await metrics_of(stack, "module_handler")
    failed = {name: count for name, count in counted.items() if "module_failed" in name and count}
    assert failed, "nobody says that a module failed"
