"""`fleet-lab device`: a few virtual devices that print what happens to them."""

from __future__ import annotations

import argparse
import asyncio
import resource
import signal
import sys
from random import Random, SystemRandom
from typing import Final, TextIO

from fleet_lab.commands.flags import Commands, duration_s, ranged
from fleet_lab.device import DeviceError, Gateway, VirtualDevice
from fleet_lab.errors import LabError
from fleet_lab.lines import Lines
from fleet_lab.payloads import KINDS, Kind, kind_of_number
from module_gateway.protocol.identity import Device

OPENING_AT_ONCE: Final = 100
"""Connection attempts under way at the same time; a listener's backlog is not endless."""
_SPARE_FILES: Final = 64
_UINT32_MAX: Final = 2**32 - 1


def _kind(text: str) -> Kind:
    if text in KINDS:
        return KINDS[text]
    if text.isascii() and text.isdigit() and int(text) <= _UINT32_MAX // 2:
        return kind_of_number(int(text))
    known = ", ".join(f"{name} ({kind.number})" for name, kind in KINDS.items())
    raise argparse.ArgumentTypeError(f"{text!r} is neither a module number nor one of {known}")


def add(commands: Commands) -> None:
    """The command's flags."""
    device = commands.add_parser(
        "device",
        help="run one or more virtual devices",
        description="Connect to a gateway, send statuses, print connections and new commands.",
    )
    device.set_defaults(run=run)
    flag = device.add_argument
    flag(
        "--module",
        type=_kind,
        default=KINDS["car_accessory"],
        metavar="NAME|NUMBER",
        help=f"{', '.join(KINDS)}, or a number (default: car_accessory)",
    )
    flag("--payload", choices=list(KINDS), help="statuses of this module, whatever the number")
    flag("--role", default="device", help="role; with --count it becomes ROLE_1, ROLE_2 …")
    flag("--type", type=ranged(0, _UINT32_MAX), help="device type (default: the module's)")
    flag("--name", default="", help="name that people read (default: the role)")
    flag(
        "--period",
        type=duration_s,
        default=1.0,
        metavar="DURATION",
        help="time from status to status: 250ms, 1s, 2m (default: 1s)",
    )
    flag("--priority", type=ranged(0, _UINT32_MAX), default=0, help="0 is the highest")
    flag("--host", default="127.0.0.1", help="of the gateway (default: 127.0.0.1)")
    flag("--port", type=ranged(1, 65535), default=8888, help="of the gateway (default: 8888)")
    flag("--count", type=ranged(1, 50_000), default=1, help="how many devices (default: 1)")
    flag("--statuses", type=ranged(1, 10**9), help="stop after so many answers per device")
    flag("--seed", type=int, help="same seed, same statuses (default: a new one, printed)")
    flag(
        "--wait", action="store_true", help="keep trying while the gateway is not there or refuses"
    )
    flag("--json", action="store_true", help="one JSON object per line")


def run(arguments: argparse.Namespace) -> int:
    """Exit code: 0 done or stopped by the user, 1 a device failed.

    Raises:
        LabError: there are not enough file descriptors.
    """
    problem = _raise_file_limit(arguments.count + _SPARE_FILES)
    if problem:
        raise LabError(problem)
    return asyncio.run(_run_devices(arguments, sys.stdout))


def _raise_file_limit(needed: int) -> str:
    """Every device needs a descriptor. Returns what to do when there are not enough."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return ""
    if hard != resource.RLIM_INFINITY and hard < needed:
        return f"needs {needed} open files, the limit is {hard}; raise it with `ulimit -n {needed}`"
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    return ""


def make_devices(arguments: argparse.Namespace, seed: int, lines: Lines) -> list[VirtualDevice]:
    """The devices that the flags describe; first statuses are spread over one period."""
    kind: Kind = arguments.module
    device_type = kind.device_type if arguments.type is None else arguments.type
    make = KINDS[arguments.payload].make if arguments.payload else kind.make
    gateway = Gateway(arguments.host, arguments.port)
    opening = asyncio.Semaphore(OPENING_AT_ONCE)
    devices = []
    for index in range(arguments.count):
        role = arguments.role if arguments.count == 1 else f"{arguments.role}_{index + 1}"
        name = arguments.name or role
        device = Device.of(kind.number, device_type, role, name, arguments.priority)
        devices.append(
            VirtualDevice(
                device,
                make(Random(f"{seed}/{device.identity}"), device_type),  # noqa: S311
                gateway=gateway,
                period_s=arguments.period,
                statuses=arguments.statuses,
                first_after_s=arguments.period * index / arguments.count,
                is_patient=arguments.wait,
                listener=lines,
                rng=Random(f"{seed}/{device.identity}/jitter"),  # noqa: S311
                opening=opening,
            )
        )
    return devices


async def _run_devices(arguments: argparse.Namespace, out: TextIO) -> int:
    lines = Lines(out, is_json=arguments.json)
    seed = SystemRandom().randrange(2**32) if arguments.seed is None else arguments.seed
    devices = make_devices(arguments, seed, lines)
    gateway = f"{arguments.host}:{arguments.port}"
    lines.write(
        None, "start", f"{len(devices)} device(s) to {gateway}, seed {seed}",
        gateway=gateway, devices=len(devices), seed=seed,
    )  # fmt: skip
    loop = asyncio.get_running_loop()
    running = [
        asyncio.create_task(_live(device, lines), name=f"device {device.device.identity}")
        for device in devices
    ]
    everyone = asyncio.gather(*running)
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, everyone.cancel)
    try:
        failures = sum(await everyone)
    except asyncio.CancelledError:
        failures = sum(task.result() for task in running if task.done() and not task.cancelled())
    counts = [device.counts for device in devices]
    sums = {
        name: sum(getattr(count, name) for count in counts)
        for name in ("sent", "answered", "pushed", "connects", "refusals")
    }
    text = ", ".join(f"{number} {name}" for name, number in sums.items())
    lines.write(None, "end", f"{text}, {failures} failed", failed=failures, **sums)
    return 1 if failures else 0


async def _live(device: VirtualDevice, lines: Lines) -> bool:
    """Run one device to its end; True when it failed. One failing device stops no other."""
    try:
        await device.run()
    except DeviceError as error:
        lines.failed(device.device, str(error))
        return True
    return False
