"""Everything that one run of the suite has on stage at the same time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.stage.gateways import (
    COMPANY,
    MODULE,
    REPOSITORY,
    VEHICLE,
    Gateway,
    configuration,
    empty_gateway,
    our_gateway,
)
from benchmarks.stage.programs import Program, Toolbox
from tests.brokers import MosquittoBroker

KEEPER_NUMBER: Final = 900_000
SETTLE_S: Final = 0.4
DRAIN_LIMIT_S: Final = 60.0
SESSION_LIMIT_S: Final = 30.0


class Upstream:
    """A broker and the stand-in of a control plane on it; both can go away and come back."""

    def __init__(self, toolbox: Toolbox, folder: Path) -> None:
        folder.mkdir()
        self._toolbox = toolbox
        self.broker: Final = MosquittoBroker(folder, has_unix=False)
        self._program: Program | None = None

    @property
    def program(self) -> Program:
        assert self._program is not None, "the control plane is away"
        return self._program

    def start(self) -> None:
        """The broker first; then somebody who answers."""
        self.broker.start()
        place = ("127.0.0.1", self.broker.port, COMPANY, VEHICLE)
        self._program = Program(self._toolbox.command("upstream", *place))

    def stop(self) -> None:
        """As when the link breaks: nobody says goodbye."""
        if self._program is not None:
            self._program.close()
            self._program = None
            self.broker.kill()

    def report(self) -> dict[str, Any]:
        """What it has seen since the last reset."""
        return self.program.ask("report")

    def drain(self) -> None:
        """Wait until nothing comes any more: what one round left behind is not the next one's.

        Raises:
            TimeoutError: it does not end.
        """
        before, deadline = -1, time.monotonic() + DRAIN_LIMIT_S
        while (seen := self.report()["statuses"]) > before + 2:  # the keeper's may come
            if time.monotonic() > deadline:
                raise TimeoutError("the gateway never gets rid of its backlog")
            before = seen
            time.sleep(SETTLE_S)


@dataclass(frozen=True)
class Scene:
    """The gateways by name (ours and the empty one, or a foreign one), and what surrounds them."""

    toolbox: Toolbox
    gateways: Mapping[str, Gateway]
    upstream: Upstream | None = None
    module: int = MODULE

    @contextmanager
    def devices(self, gateway: Gateway, count: int, *, first: int = 0) -> Iterator[Program]:
        """Connected devices of their own generator process.

        Raises:
            RuntimeError: not all of them were accepted.
        """
        words = (gateway.host, gateway.port, count, first, self.module)
        with Program(self.toolbox.command("load", *words)) as program:
            answer = program.ask("connect")
            if answer["connected"] != count:
                raise RuntimeError(f"{count} devices wanted, {answer}")
            yield program


def run_words(gateway: Gateway, seconds: float, **words: float) -> str:
    """A `run` command that watches the gateway's processes."""
    watched = ",".join(map(str, gateway.pids()))
    more = " ".join(f"{key}={value:g}" for key, value in words.items())
    return f"run seconds={seconds:g} {more}" + (f" watch={watched}" if watched else "")


@contextmanager
def own_scene(
    toolbox: Toolbox,
    folder: Path,
    durability: str = "power",
    *,
    modules: int = 1,
    checkout: Path = REPOSITORY,
) -> Iterator[Scene]:
    """Ours beside the empty one; one quiet device keeps the session with upstream alive."""
    with ExitStack() as stack:
        upstream = Upstream(toolbox, folder / "up")
        stack.callback(upstream.stop)
        upstream.start()
        assert upstream.broker.port is not None
        settings = configuration(upstream.broker.port, durability, modules)
        ours = stack.enter_context(our_gateway(folder / "g", settings, checkout))
        empty = stack.enter_context(empty_gateway(toolbox))
        scene = Scene(toolbox, {"ours": ours, "empty": empty}, upstream)
        keeper = stack.enter_context(scene.devices(ours, 1, first=KEEPER_NUMBER))
        keeper.tell("run seconds=100000 rate=0.5")
        _wait_for_session(upstream)
        yield scene


def _wait_for_session(upstream: Upstream) -> None:
    deadline = time.monotonic() + SESSION_LIMIT_S
    while not upstream.report()["ready_ns"]:
        if time.monotonic() > deadline:
            raise TimeoutError(f"no session with the control plane: {upstream.report()}")
        time.sleep(0.05)
    time.sleep(SETTLE_S)
