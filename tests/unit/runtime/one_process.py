"""A process whose main function does what its first argument says; run by test_process."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from module_gateway.protocol.errors import BusError, ConfigError, GatewayError, Reason
from module_gateway.runtime.config import default_settings
from module_gateway.runtime.process import Runtime, run_process
from module_gateway.runtime.settings import Logging
from module_gateway.runtime.tasks import start_task


async def _die() -> None:
    raise ValueError("a defect")


async def _main(runtime: Runtime, mode: str) -> None:
    runtime.announce_ready(devices="127.0.0.1:1")
    match mode:
        case "task":
            task = start_task(_die(), "worker")
            await runtime.stop.wait()
            assert task.done()
        case "raise":
            raise KeyError("unforeseen")
        case "refuse":
            raise BusError("no bus here")
        case "superseded":
            raise GatewayError(f"another one has taken over ({Reason.STALE_LEASE})")
        case "config":
            raise ConfigError("some.key", got=1, expected="2")
        case "hang":
            await asyncio.Event().wait()
        case "callback":
            asyncio.get_running_loop().call_soon(lambda: 1 / 0)
            await runtime.stop.wait()
        case "return":
            return
        case _:
            await runtime.stop.wait()


def main() -> int:
    mode, state_dir, port = sys.argv[1:]
    settings = default_settings()
    server = settings.internal_server_settings.model_copy(update={"metrics_port": int(port)})
    settings = settings.model_copy(
        update={
            "internal_server_settings": server,
            "state_dir": Path(state_dir),
            "logging": Logging(format="json"),
        }
    )
    return run_process("internal_server", settings, lambda runtime: _main(runtime, mode))


if __name__ == "__main__":
    sys.exit(main())
