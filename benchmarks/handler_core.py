"""How many statuses a second the handler's core decides about, against a plain table update.

    python -m benchmarks.handler_core [--devices 500] [--statuses 100000] [--batch 200]

Everything but the bus and the commit: reading the request, sequence and holder, the module,
aggregation, command, outbox, delivery, the changes for the store and the reply message. The ratio
compares with a loop that does one dictionary update per status in the same run, so it means the
same on any machine.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence

from module_gateway.bus.address import Address
from module_gateway.module_handler.core import Core, CoreLimits, Heard
from module_gateway.module_handler.delivery import Window
from module_gateway.module_handler.outbox import Bounds
from module_gateway.module_handler.store import StoredState
from module_gateway.module_handler.upstream import UpstreamLimits
from module_gateway.modules.car_accessory import CarAccessoryModule
from module_gateway.modules.containment import ContainedModule
from module_gateway.modules.transparent import TransparentModule
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.identity import Device

NUMBER = 7
SERVER = Address(bus_pb2.INTERNAL_SERVER, 1)
CLIENT = Address(bus_pb2.EXTERNAL_CLIENT, 2)
MODULES = {"transparent": TransparentModule, "car_accessory": CarAccessoryModule}
LIMITS = CoreLimits(UpstreamLimits(Bounds(1_000, 4 << 20), Window(2_000, 8 << 20)))


def device(number: int) -> Device:
    return Device.of(NUMBER, 0, f"device_{number}", f"Device {number}")


def new_core(module_name: str, devices: int, *, is_leased: bool) -> Core:
    """A core with that many connected devices."""
    modules = {NUMBER: ContainedModule(MODULES[module_name](), NUMBER)}
    core = Core(LIMITS, modules, 1, StoredState(), 0.0)
    connects = []
    for number in range(devices):
        message = bus_pb2.Message()
        message.connect_request.instance = number + 1
        device(number).write_to(message.connect_request.device)
        connects.append(message)
    core.decide([Heard(SERVER, connects)], 0.0, 0)
    if is_leased:
        message = bus_pb2.Message()
        message.lease.epoch = 1
        message.lease.modules.append(NUMBER)
        core.decide([Heard(CLIENT, [message])], 0.0, 0)
    return core


def batches(devices: int, statuses: int, batch: int) -> Iterator[list[bus_pb2.Message]]:
    """Status requests of all devices in turn; every other status differs."""
    messages: list[bus_pb2.Message] = []
    for number in range(statuses):
        message = bus_pb2.Message()
        request = message.status_request
        request.instance = number % devices + 1
        request.sequence = number // devices + 1
        request.status = b'{"pressed": %s}' % (b"true" if request.sequence % 2 else b"false")
        messages.append(message)
        if len(messages) == batch:
            yield messages
            messages = []
    if messages:
        yield messages


def receipt_of(delivery: int) -> list[bus_pb2.Message]:
    """The client takes everything at once and the control plane acknowledges nothing."""
    message = bus_pb2.Message()
    message.delivery_receipt.epoch = 1
    message.delivery_receipt.delivery = delivery
    return [message]


def run_core(core: Core, work: Sequence[list[bus_pb2.Message]]) -> tuple[float, int]:
    """Seconds, and how many statuses were answered."""
    answered = delivered = 0
    begin = time.perf_counter()
    for turn_number, messages in enumerate(work):
        turn = core.decide([Heard(SERVER, messages)], turn_number * 0.02, 0)
        answered += turn.applied
        last = turn.sends[-1].message if turn.sends else None
        if last is not None and last.WhichOneof("body") == "delivery":
            delivered = last.delivery.delivery
            core.decide([Heard(CLIENT, receipt_of(delivered))], turn_number * 0.02, 0)
    return time.perf_counter() - begin, answered


def run_plain(devices: int, statuses: int) -> float:
    """Seconds for one dictionary update per status."""
    table: dict[int, tuple[int, bytes]] = {}
    status = b'{"pressed": true}'
    begin = time.perf_counter()
    for number in range(statuses):
        table[number % devices] = (number, status)
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--devices", type=int, default=500)
    parser.add_argument("--statuses", type=int, default=100_000)
    parser.add_argument("--batch", type=int, default=200)
    options = parser.parse_args()
    plain_s = min(run_plain(options.devices, options.statuses) for _ in range(3))
    print(f"plain table update: {options.statuses / plain_s:,.0f}/s")
    for module_name in MODULES:
        for is_leased in (False, True):
            core = new_core(module_name, options.devices, is_leased=is_leased)
            work = list(batches(options.devices, options.statuses, options.batch))
            seconds, answered = run_core(core, work)
            if answered != options.statuses:
                raise SystemExit(f"{answered} of {options.statuses} statuses were answered")
            print(
                f"{module_name}, {'leased' if is_leased else 'not leased'}: "
                f"{answered / seconds:,.0f} statuses/s, "
                f"{seconds / plain_s:,.1f} x the time of a plain update"
            )


if __name__ == "__main__":
    main()
