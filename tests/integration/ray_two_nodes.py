"""Run by `test_ray_cluster.py` in a network namespace of its own: prints one JSON object.

A Ray cluster of two nodes on this machine, a gateway, a fleet of two shards on the cluster; then
the node that is not the head is killed.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import ray
from ray.cluster_utils import Cluster

from fleet_lab.fleets.running import RunningFleet
from tests.unit.fleet_lab.fleets.stand_ins import Remembering
from tests.unit.fleet_lab.gateways import gateway

DEVICES = 8
LIMIT_S = 150.0


async def scenario(cluster: Cluster, victim: Any) -> dict[str, Any]:
    recorder = Remembering()
    async with gateway() as at:
        fleet = RunningFleet(
            "cars", "car_accessory", size=DEVICES, sink=f"fleet-protocol://127.0.0.1:{at.port}",
            load="5/s each", seed=3, workers=2, on="ray", recorder=recorder,
        )  # fmt: skip
        await fleet.start()
        async with asyncio.timeout(LIMIT_S):
            await recorder.saw("answered", DEVICES * 5)
            before = fleet.ps()["places"]
            on_victim = [
                index for index in range(DEVICES)
                if (await fleet.telemetry(f"cars/{index + 1}"))["place"] == place_of(victim)
            ]  # fmt: skip
            answered = len(recorder.named("answered"))
            killed_s = time.monotonic()
            await asyncio.to_thread(cluster.remove_node, victim, allow_graceful=False)
            died = {index for _, index, _ in recorder.named("closed")}
            while not died:
                await recorder.until(lambda: bool(recorder.named("closed")))
                died = {index for _, index, _ in recorder.named("closed")}
            heard: set[object] = set()
            while heard != set(range(DEVICES)):
                recorder.changed.clear()
                await recorder.changed.wait()
                heard = later(
                    recorder, answered, {index for _, index, _ in recorder.named("closed")}
                )
            back_s = time.monotonic() - killed_s
        places = fleet.ps()["places"]
        # Ray notices a dead node by its health check; there is nothing to wait for but the row.
        async with asyncio.timeout(LIMIT_S):
            while len(fleet.ps()["places"]) < len(before):
                await asyncio.sleep(0.2)
        restarted = fleet.ps()["places"]
        await fleet.stop()
    sent = [event[1:3] for event in recorder.named("sent")]
    return {
        "before": before, "after": places, "restarted": restarted,
        "back_s": back_s, "died": sorted(map(int, died)), "on_victim": on_victim,
        "victim": place_of(victim),
        "numbered_twice": len(sent) - len(set(sent)),
    }  # fmt: skip


def later(recorder: Remembering, answered: int, died: set[object]) -> set[object]:
    """Devices that were answered since: those that died after they were closed."""
    found: set[object] = set()
    closed: set[object] = set()
    count = 0
    for event in recorder.events:
        if event[0] == "closed":
            closed.add(event[1])
        elif event[0] == "answered":
            count += 1
            if count > answered and (event[1] not in died or event[1] in closed):
                found.add(event[1])
    return found


def place_of(node: Any) -> str:
    return f"node {node.node_id[:12]}"


def main() -> int:
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "include_dashboard": False, "object_store_memory": 80 << 20},
    )
    victim = cluster.add_node(num_cpus=1, object_store_memory=80 << 20)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
    try:
        result = asyncio.run(scenario(cluster, victim))
    finally:
        ray.shutdown()
        cluster.shutdown()
    sys.stdout.write("RESULT " + json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
