"""The broker of last resort: amqtt on a loopback port, in a process of its own."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence

from amqtt.broker import Broker  # type: ignore[import-untyped]  # it ships no types
from amqtt.errors import BrokerError  # type: ignore[import-untyped]  # likewise

from module_gateway.runtime.broker import LOOPBACK
from module_gateway.runtime.log import configure, get_logger
from module_gateway.runtime.options import port_number
from module_gateway.runtime.process import EXIT_FAILED, EXIT_OK, install_signals
from module_gateway.runtime.settings import Logging

_log = get_logger(__name__)

MAX_CONNECTIONS = 100  # processes of one machine


async def serve(port: int, stop: asyncio.Event) -> None:
    """Carry messages on 127.0.0.1 until `stop`.

    Raises:
        BrokerError: the port cannot be used.
    """
    broker = Broker(
        {
            "listeners": {
                "default": {
                    "type": "tcp",
                    "bind": f"{LOOPBACK}:{port}",
                    "max_connections": MAX_CONNECTIONS,
                }
            },
            "plugins": {
                "amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}
            },
        }
    )
    await broker.start()
    _log.info("ready", mqtt=f"{LOOPBACK}:{port}")
    await stop.wait()
    await broker.shutdown()


async def _run(port: int) -> int:
    stop = asyncio.Event()
    install_signals("embedded broker", stop)
    try:
        await serve(port, stop)
    except (BrokerError, OSError) as error:
        _log.error("failed", reason=f"cannot listen on {LOOPBACK}:{port}: {error}")
        return EXIT_FAILED
    return EXIT_OK


def main(argv: Sequence[str] | None = None) -> int:
    """`--port`: where to listen. Runs until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="embedded-broker", description=__doc__)
    parser.add_argument("--port", type=port_number, required=True)
    arguments = parser.parse_args(argv)
    configure(Logging(format="text"), "embedded_broker")
    return asyncio.run(_run(arguments.port))


if __name__ == "__main__":
    sys.exit(main())
