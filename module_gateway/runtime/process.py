"""The shell of every process: loop, logging, signals, health, exit code.

Exit codes (design 6): 0 stopped as asked, 1 failed, 2 wrong usage, 78 wrong configuration.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from module_gateway.protocol.errors import ConfigError, GatewayError, Reason
from module_gateway.runtime.config import changed_settings, effective_configuration
from module_gateway.runtime.health import STARTED, Health, Progress
from module_gateway.runtime.log import configure, get_logger
from module_gateway.runtime.metrics import HOST, UNEXPECTED_ERRORS, serve_metrics
from module_gateway.runtime.notify import Notifier
from module_gateway.runtime.pulse import keep_pulse
from module_gateway.runtime.restarts import serve_restarts
from module_gateway.runtime.settings import Settings
from module_gateway.runtime.state import (
    RunNote,
    ensure_state_dir,
    find_state_dir,
    remove_run_note,
    write_run_note,
)
from module_gateway.runtime.tasks import FAILED_TASK, start_task, stop_tasks

METRICS_PORT: Final = "MODULE_GATEWAY_METRICS_PORT"
"""Environment of a second process of a component: its metrics cannot be at the same port."""

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_CONFIG: Final = 78

STOP_LIMIT_S: Final = 10.0
"""Contract of a clean stop (design 3.9)."""
SAME_SIGNAL_S: Final = 0.3
"""Some programs (coreutils' timeout) signal a process and its group: one wish, two signals."""
SUPERVISED: Final = "MODULE_GATEWAY_SUPERVISED"
"""Set by the supervisor, which has said once what would otherwise be said by each process."""

REMEDIES: Final = {
    Reason.STALE_LEASE: "run one per endpoint: look for a second gateway or external client on "
    "the same bus or state folder",
}

_log = get_logger(__name__)


@dataclass(slots=True)
class Runtime:
    """What the main function of a process gets."""

    component: str
    settings: Settings
    state_dir: Path
    health: Health = field(default_factory=Health)
    progress: Progress = field(default_factory=Progress)
    """What must not stand still: it decides about /readyz, and about the life of the process."""
    notifier: Notifier = field(default_factory=Notifier)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by SIGTERM, SIGINT or the failure of a supervised task: finish and return."""
    metrics_port: int = 0
    failure: str | None = None
    """What made the process fail, None while nothing did."""

    def announce_ready(self, **addresses: str) -> None:
        """Say, to people and to the supervisor, that the process does its job from now on.

        `addresses` are names and `host:port` texts worth knowing, e.g. `devices="…:8888"`.
        """
        self.health.set(STARTED, is_ok=True)
        known = {**addresses, "metrics": f"{HOST}:{self.metrics_port}"}
        write_run_note(self.state_dir, RunNote(self.component, os.getpid(), known))
        self.notifier.ready(" ".join(f"{name}={where}" for name, where in known.items()))
        _log.info("ready", **known)

    def fail(self, what: str, error: BaseException | None = None) -> None:
        """Stop the process with exit code 1 because `what` must not go on like this."""
        if self.failure is None:
            self.failure = what if error is None else f"{what}: {error!r}"
        self.stop.set()


def run_process(
    component: str, settings: Settings, main: Callable[[Runtime], Awaitable[None]]
) -> int:
    """Run `main` until it returns or a signal asks for the end; returns the exit code.

    `main` gets a `Runtime` and must return soon after `stop` is set (10 s at most). A failed
    supervised task, or an exception out of `main`, ends the process with 1 and one clear line;
    a ConfigError with 78. A second signal ends it at once.
    """
    try:
        configure(settings.logging, component)
        state_dir = ensure_state_dir(find_state_dir(settings.state_dir, os.environ))
    except ConfigError as error:
        sys.stderr.write(f"{component}: {error}\n")
        return EXIT_CONFIG
    _raise_file_limit()
    serve_restarts(component, os.environ)
    notifier = Notifier.from_environment(os.environ, os.getpid())
    if not os.environ.get(SUPERVISED):
        log_configuration(settings)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runtime = Runtime(component, settings, state_dir, notifier=notifier)
        return runner.run(_run(runtime, main))


def log_configuration(settings: Settings) -> None:
    """Notices about the file, which settings it changes, and for machines all, without secrets."""
    for notice in settings.notices:
        _log.warning("configuration_notice", notice=notice)
    _log.info(
        "configuration",
        file=settings.source or "none",
        changed=changed_settings(settings),
        in_full=effective_configuration(settings),
    )


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The loop of uvloop where that is installed, None for the standard loop."""
    try:
        import uvloop  # noqa: PLC0415 - a faster loop where there is one
    except ImportError:
        return None
    return uvloop.new_event_loop


def _raise_file_limit() -> None:
    """Every device is a file; the usual soft limit of 1024 would be the gateway's limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _run(runtime: Runtime, main: Callable[[Runtime], Awaitable[None]]) -> int:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: _loop_failed(runtime, context))
    install_signals(runtime.component, runtime.stop)
    port = getattr(runtime.settings, f"{runtime.component}_settings").metrics_port
    port = int(os.environ.get(METRICS_PORT) or port)
    pulse = start_task(keep_pulse(runtime.progress, runtime.health, runtime.notifier), "pulse")
    try:
        async with serve_metrics(port, runtime.health) as runtime.metrics_port:
            return await _run_main(runtime, main)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        key = f"{runtime.component.replace('_', '-')}-settings.metrics-port"
        _log.error("metrics_port_unusable", reason=f"{HOST}:{port} ({key}): {why}")
        return EXIT_FAILED
    finally:
        await stop_tasks([pulse])
        runtime.notifier.close()
        remove_run_note(runtime.state_dir, runtime.component, os.getpid())


async def _run_main(runtime: Runtime, main: Callable[[Runtime], Awaitable[None]]) -> int:
    work = asyncio.ensure_future(main(runtime))
    stop = asyncio.ensure_future(runtime.stop.wait())
    await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
    runtime.notifier.stopping()
    if not work.done():
        runtime.health.set(STARTED, is_ok=False, detail="stopping")
        if runtime.failure is not None:
            _log.info("stopping", failure=runtime.failure)
        await asyncio.wait({work}, timeout=STOP_LIMIT_S)
    stop.cancel()
    if not work.done():
        runtime.fail(f"the work did not end within {STOP_LIMIT_S:g} s of the stop")
        await stop_tasks([work])
    code = _exit_code(runtime, None if work.cancelled() or not work.done() else work.exception())
    _log.info("stopped", exit_code=code)
    return code


def _exit_code(runtime: Runtime, error: BaseException | None) -> int:
    """One clear line for what ended the process; a traceback only for what nobody foresaw."""
    match error:
        case None:
            pass
        case ConfigError():
            _log.error("configuration_refused", error=str(error))
            return EXIT_CONFIG
        case GatewayError() | OSError():
            runtime.fail(str(error) + _remedy(str(error)))
        case _:
            UNEXPECTED_ERRORS.labels(component=runtime.component).inc()
            _log.error("crashed", error=repr(error), exc_info=error)
            runtime.fail(repr(error))
    if runtime.failure is None:
        return EXIT_OK
    _log.error("failed", reason=runtime.failure)
    return EXIT_FAILED


def _remedy(text: str) -> str:
    """What to look for, where the end of a process names a reason that has a usual cause."""
    return next((f"; {hint}" for reason, hint in REMEDIES.items() if f"({reason})" in text), "")


def _loop_failed(runtime: Runtime, context: dict[str, Any]) -> None:
    """The loop's exception handler.

    The death of a supervised task ends the process; an exception in a callback has harmed one
    transport or one timer and is counted.
    """
    error = context.get("exception")
    UNEXPECTED_ERRORS.labels(component=runtime.component).inc()
    if FAILED_TASK in context:  # logged where it died
        runtime.fail(f"task {context[FAILED_TASK]} failed", error)
        return
    _log.error("unexpected_error", message=context.get("message"), exc_info=error)


def install_signals(name: str, stop: asyncio.Event) -> None:
    """SIGTERM and SIGINT set `stop`; a later second one ends the process at once with 1."""
    loop = asyncio.get_running_loop()
    first: list[float] = []

    def on_signal(number: signal.Signals) -> None:
        if not first:
            first.append(loop.time())
            _log.info("stopping", signal=number.name)
            stop.set()
        elif loop.time() - first[0] > SAME_SIGNAL_S:
            sys.stderr.write(f"{name}: second signal, exits at once\n")
            sys.stderr.flush()
            os._exit(EXIT_FAILED)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
