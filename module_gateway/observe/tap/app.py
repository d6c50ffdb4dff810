"""`module-gateway tap`: what passes now, at the local bus or upstream, one line per message."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import ssl
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from module_gateway.bus.location import BusLocation
from module_gateway.control_plane.decode import Decoder
from module_gateway.external_client.tls import make_context
from module_gateway.module_handler.buffer.selection import identity
from module_gateway.module_handler.buffer.view import store_path
from module_gateway.modules.catalog import load_modules
from module_gateway.observe.bus_place import running_bus
from module_gateway.observe.durations import duration
from module_gateway.observe.tap.bus_messages import topics_for
from module_gateway.observe.tap.lines import Lines
from module_gateway.observe.tap.seen import KINDS, Filter, known_kinds
from module_gateway.observe.tap.session import Tap, TapPlace
from module_gateway.observe.tap.watch import Place
from module_gateway.protocol.errors import BusError, ConfigError
from module_gateway.protocol.external import Topics
from module_gateway.runtime.log import configure
from module_gateway.runtime.options import Once, add_common_options, load_settings
from module_gateway.runtime.process import EXIT_CONFIG, EXIT_FAILED, EXIT_OK
from module_gateway.runtime.settings import Endpoint, Settings
from module_gateway.runtime.state import find_state_dir

PROGRAM: Final = "module-gateway tap"
COMPONENT: Final = "tap"
HOPS: Final = ("bus", "upstream")

NICENESS: Final = 10
"""On a machine that has no time to spare the gateway comes first: the broker drops a tap that
cannot keep up, and it comes back."""

NO_DEVICE_HOP: Final = (
    "there is no tap at the devices' sockets: the bus carries the same statuses and replies, with "
    "the connection's instance and sequence number; use --hop bus --kind connect,status,reply,end"
)


def _hops(text: str) -> tuple[str, ...]:
    words = tuple(dict.fromkeys(text.split(",")))
    if any(word in {"device", "devices"} for word in words):
        raise argparse.ArgumentTypeError(NO_DEVICE_HOP)
    for word in words:
        if word not in HOPS:
            raise argparse.ArgumentTypeError(f"{word!r} is no hop; expected {' or '.join(HOPS)}")
    return words


def _kinds(text: str) -> frozenset[str]:
    try:
        return known_kinds(text.split(","))
    except ValueError as error:
        expected = ", ".join([*KINDS, "all"])
        raise argparse.ArgumentTypeError(
            f"{str(error)!r} is no kind; expected {expected}"
        ) from None


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of messages; expected 1 and up")
    return int(text)


def build_parser() -> argparse.ArgumentParser:
    """The options of this command."""
    kinds = "\n".join(f"  {kind:<11}{meaning}" for kind, meaning in KINDS.items())
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Show live messages, one per line. Only listens: nothing is sent, and nobody "
        "waits for it. Ctrl-C ends it.",
        epilog=f"kinds (presence, live and receipt are shown only when asked for):\n{kinds}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_common_options(parser)
    parser.add_argument(
        "--hop", metavar="bus|upstream", type=_hops, default=("bus",), action=Once,
        help="bus: between the gateway's processes (default); upstream: to and from the control "
        "planes; bus,upstream: both",
    )  # fmt: skip
    parser.add_argument(
        "--device", metavar="MODULE/TYPE/ROLE", type=identity, action="append", default=[],
        help="only this device; may be given more than once",
    )  # fmt: skip
    parser.add_argument(
        "--kind", metavar="KIND[,KIND…]", type=_kinds, default=frozenset(), action=Once,
        help="only these kinds of messages, or all; see below",
    )  # fmt: skip
    parser.add_argument(
        "--decode", action="store_true",
        help="show statuses and commands as their modules read them, not only their size",
    )  # fmt: skip
    parser.add_argument("--count", metavar="N", type=_count, action=Once, help="end after N lines")
    parser.add_argument(
        "--for", dest="for_s", metavar="TIME", type=duration, action=Once,
        help="end after that time: 10s, 5min",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="each message as one JSON object")
    return parser


def places(settings: Settings, hops: Sequence[str], wanted: Filter) -> list[TapPlace]:
    """What to watch.

    Raises:
        ConfigError: the bus' address cannot be right, or there is no control plane to watch.
    """
    found: list[TapPlace] = []
    if "bus" in hops:
        state_dir = find_state_dir(settings.state_dir, os.environ)
        location = running_bus(settings.bus, state_dir, os.environ)
        topics = topics_for(wanted.wants_kind)
        if topics:
            found.append(TapPlace(Place("the bus", location, topics), None))
    if "upstream" in hops:
        found += _upstream(settings)
    return found


def _upstream(settings: Settings) -> list[TapPlace]:
    """One place per broker: endpoints of one vehicle share their topics."""
    connection = settings.external_connection
    if not connection.endpoints:
        raise ConfigError(
            "external-connection.endpoints",
            got=[],
            expected="a control plane to watch",
            hint="name the gateway's configuration with --config",
        )
    topics = Topics.of(connection.company, connection.vehicle_name)
    brokers: dict[tuple[str, int], TapPlace] = {}
    for index, endpoint in enumerate(connection.endpoints):
        address = (endpoint.server_ip, endpoint.port)
        if address not in brokers:
            location = BusLocation(None, *address)
            context = _context(endpoint, f"external-connection.endpoints[{index}]")
            place = Place(f"the broker of endpoint {index}", location, tuple(topics), context)
            brokers[address] = TapPlace(place, topics)
    return list(brokers.values())


def _context(endpoint: Endpoint, where: str) -> Callable[[], ssl.SSLContext | None]:
    return lambda: make_context(endpoint, where)


def main(argv: Sequence[str] | None = None) -> int:
    """Watch until `--count`, `--for`, Ctrl-C or the end of whoever reads; returns the exit code.

    0 ended as asked, 1 there is nothing to watch, 2 wrong usage, 78 configuration.

    Raises:
        SystemExit: wrong usage (2), a configuration that cannot be used (78), or `--help`.
    """
    args = build_parser().parse_args(argv)
    settings = load_settings(args, needs_endpoints=False)
    wanted = Filter(args.kind, frozenset(args.device))
    try:
        _start_log(settings)
        watched = places(settings, args.hop, wanted)
        decoder = None
        if args.decode:
            decoder = Decoder(load_modules(settings.module_paths, settings.module_settings))
        store = store_path(find_state_dir(settings.state_dir, os.environ))
        tap = Tap(watched, wanted, Lines(decoder, is_json=args.json), store, _say)
        with suppress(OSError):
            os.nice(NICENESS)
        return asyncio.run(_run(tap, args.count, args.for_s))
    except ConfigError as error:
        _say(str(error))
        return EXIT_CONFIG
    except BusError as error:
        _say(f"{error}\nIs the gateway running? `module-gateway status` says what is; "
             "--config or --state-dir name another one.")  # fmt: skip
        return EXIT_FAILED
    except KeyboardInterrupt:  # before there was anything to end
        return EXIT_OK


async def _run(tap: Tap, count: int | None, for_s: float | None) -> int:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    begun_s = time.monotonic()
    try:
        await tap.run(sys.stdout, stop, count, for_s)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
        if not tap.is_reader_gone:
            sys.stdout.flush()
    _say(tap.summary(time.monotonic() - begun_s))
    if tap.is_reader_gone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return EXIT_OK


def _say(text: str) -> None:
    with suppress(OSError, ValueError):
        sys.stderr.write(f"tap: {text}\n")
        sys.stderr.flush()


def _start_log(settings: Settings) -> None:
    """Only errors reach the console; the log file is the gateway's and stays so."""
    console = settings.logging.console.model_copy(update={"use": True, "level": "ERROR"})
    file = settings.logging.file.model_copy(update={"use": False})
    logging = settings.logging.model_copy(update={"console": console, "file": file})
    configure(logging, COMPONENT)
