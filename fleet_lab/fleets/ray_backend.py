"""Workers as actors of a Ray cluster: one actor per shard, placed and restarted by Ray.

Nothing imports this file but a fleet with `on="ray"`. When a node is lost the other
actors take its devices within seconds, and Ray starts its actors again on another node.

Ray itself listens on all interfaces of its machines: run it in a network that you trust.
"""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections.abc import Mapping
from typing import Any, Final

from fleet_lab.errors import LabError, missing_extra
from fleet_lab.fleets.ports import WorkerLostError, WorkerPort
from fleet_lab.fleets.service import ShardService
from fleet_lab.fleets.wire import Frame

try:
    import ray
    from ray.exceptions import RayError
except ImportError as error:
    raise missing_extra("ray", "ray", "a fleet on a cluster") from error

PLACE_TIMEOUT_S: Final = 60.0
REVIVE_TIMEOUT_S: Final = 90.0
"""So long Ray may take to start an actor elsewhere; the others have its devices meanwhile."""
PING_TIMEOUT_S: Final = 2.0
_CPUS: Final = 0.01
"""An actor asks for next to nothing, so the nodes that are left always have room for it."""


class RayShard:
    """The actor. An incarnation is one life of it: a restarted one has no devices yet."""

    def __init__(self) -> None:
        self._service = ShardService()
        self._incarnation = uuid.uuid4().hex

    async def hello(self) -> tuple[str, str]:
        """Incarnation and node."""
        return self._incarnation, str(ray.get_runtime_context().get_node_id())

    async def request(self, incarnation: str, what: str, fields: str) -> tuple[str, bytes]:
        """A request as JSON, its answer as JSON and bytes."""
        if incarnation != self._incarnation:
            return json.dumps({"restarted": True}), b""
        try:
            result, attachment = await self._service.request(what, json.loads(fields))
        except LabError as error:
            return json.dumps({"error": error.text, "exit_code": error.exit_code}), b""
        return json.dumps({"fields": result}), attachment


class RayWorker:
    """One incarnation of one actor, as its fleet sees it."""

    def __init__(self, name: str, actor: Any, incarnation: str, node: str) -> None:  # noqa: ANN401  # Ray's handles have no type
        self.name = name
        self.actor = actor
        self.incarnation = incarnation
        self.node = node

    @property
    def place(self) -> str:
        """Which node."""
        return f"node {self.node[:12]}"

    async def request(self, what: str, fields: Mapping[str, Any]) -> Frame:
        """As in WorkerPort."""
        try:
            answer, attachment = await self.actor.request.remote(
                self.incarnation, what, json.dumps(dict(fields))
            )
        except RayError as error:
            raise WorkerLostError(str(error).strip().partition("\n")[0]) from error
        parsed: dict[str, Any] = json.loads(answer)
        if "restarted" in parsed:
            raise WorkerLostError("it was started again")
        if "error" in parsed:
            raise LabError(parsed["error"], parsed["exit_code"])
        return parsed["fields"], attachment

    async def kill(self) -> None:
        """End this life of the actor; Ray begins the next one."""
        await asyncio.to_thread(ray.kill, self.actor, no_restart=False)

    async def end(self) -> None:
        """Kill the actor for good."""
        await asyncio.to_thread(ray.kill, self.actor)


class RayPlacer:
    """Places actors on the cluster.

    Args:
        on: "ray" for the cluster that this machine belongs to, else its `ray://` address.
    """

    def __init__(self, on: str) -> None:
        self._address = "auto" if on == "ray" else on
        self._is_ours = False

    @property
    def board(self) -> None:
        """No memory is shared between machines."""
        return

    def last_number(self, index: int) -> None:
        """Not known beyond what was recorded."""
        del index

    async def place(self, name: str) -> RayWorker:
        """Start one actor, away from the others where that is possible.

        Raises:
            LabError: there is no cluster, or the actor does not start.
        """
        await asyncio.to_thread(self._connect)
        options = {"max_restarts": -1, "scheduling_strategy": "SPREAD", "num_cpus": _CPUS}
        make: Any = ray.remote(RayShard)
        actor = make.options(max_concurrency=100, **options).remote()
        try:
            async with asyncio.timeout(PLACE_TIMEOUT_S):
                incarnation, node = await actor.hello.remote()
        except (RayError, TimeoutError) as error:
            raise LabError(f"worker {name} did not start on the cluster: {error}") from error
        return RayWorker(name, actor, incarnation, node)

    async def revive(self, worker: WorkerPort) -> RayWorker | None:
        """The same actor in its next life, once Ray has started it."""
        if not isinstance(worker, RayWorker):
            return None
        try:
            async with asyncio.timeout(REVIVE_TIMEOUT_S):
                while True:
                    try:
                        async with asyncio.timeout(PING_TIMEOUT_S):
                            incarnation, node = await worker.actor.hello.remote()
                    except (RayError, TimeoutError):
                        await asyncio.sleep(0.1)
                        continue
                    if incarnation != worker.incarnation:
                        return RayWorker(worker.name, worker.actor, incarnation, node)
                    await asyncio.sleep(0.1)
        except TimeoutError:
            return None

    async def close(self) -> None:
        """Leave the cluster if this fleet joined it."""
        if self._is_ours:
            await asyncio.to_thread(ray.shutdown)

    def _connect(self) -> None:
        if ray.is_initialized():
            return
        try:
            ray.init(address=self._address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError, RayError) as error:
            raise LabError(
                f"no Ray cluster at {self._address!r} ({str(error).partition(chr(10))[0]}); "
                "start one: ray start --head"
            ) from error
        self._is_ours = True
