"""`fleet-lab device`: a few virtual devices that print what happens to them."""

from __future__ import annotations

import argparse
import asyncio
import resource
import signal
import sys
from random import SystemRandom
from typing import Final, NamedTuple, TextIO

from fleet_lab.commands.flags import Commands, duration_s, ranged
from fleet_lab.device import Gateway, VirtualDevice
from fleet_lab.devices.api import Device
from fleet_lab.devices.builtin import BUILTIN, builtin_of_number
from fleet_lab.devices.generators import Stream
from fleet_lab.errors import LabError
from fleet_lab.lines import Lines

OPENING_AT_ONCE: Final = 100
"""Connection attempts under way at the same time; a listener's backlog is not endless."""
_SPARE_FILES: Final = 64
_UINT32_MAX: Final = 2**32 - 1


class _Module(NamedTuple):
    number: int
    make: type[Device]


def _module(text: str) -> _Module:
    if text in BUILTIN:
        return _Module(BUILTIN[text].module, BUILTIN[text])
    if text.isascii() and text.isdigit() and int(text) <= _UINT32_MAX // 2:
        return _Module(int(text), builtin_of_number(int(text)))
    known = ", ".join(f"{name} ({make.module})" for name, make in BUILTIN.items())
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
        type=_module,
        default=_module("car_accessory"),
        metavar="NAME|NUMBER",
        help=f"{', '.join(BUILTIN)}, or a number (default: car_accessory)",
    )
    flag("--payload", choices=list(BUILTIN), help="statuses of this module, whatever the number")
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
    module: _Module = arguments.module
    make = BUILTIN[arguments.payload] if arguments.payload else module.make
    gateway = Gateway(arguments.host, arguments.port)
    opening = asyncio.Semaphore(OPENING_AT_ONCE)
    devices = []
    for index in range(arguments.count):
        role = arguments.role if arguments.count == 1 else f"{arguments.role}_{index + 1}"
        options = {
            "module": module.number,
            "device_type": module.make.device_type if arguments.type is None else arguments.type,
            "role": role,
            "name": arguments.name or role,
            "priority": arguments.priority,
        }
        devices.append(
            VirtualDevice(
                make(role, Stream(seed, module.number, role), options),
                gateway=gateway,
                period_s=arguments.period,
                statuses=arguments.statuses,
                first_after_s=arguments.period * index / arguments.count,
                is_patient=arguments.wait,
                listener=lines,
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
        asyncio.create_task(_live(device, lines), name=f"device {device.introduction.identity}")
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
    except LabError as error:
        lines.failed(device.introduction, str(error))
        return True
    return False
