"""A fleet on a Ray cluster of two nodes on this machine; losing one loses no device."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
BACK_WITHIN_S = 15.0 * float(os.environ.get("MODULE_GATEWAY_TEST_PATIENCE", "3"))
"""Devices are back within 15 s; a machine that is busy with other things may scale it."""
_NAMESPACE = ("unshare", "--net", "--map-root-user")


def can_have_a_network_of_its_own() -> bool:
    """Ray listens on all interfaces, so it runs where there is only the loopback."""
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return False
    return (
        subprocess.run([*_NAMESPACE, "ip", "link"], capture_output=True, check=False).returncode
        == 0
    )


@pytest.mark.timeout(480)
@pytest.mark.skipif(find_spec("ray") is None, reason="the extra `ray` is not installed")
@pytest.mark.skipif(
    not can_have_a_network_of_its_own(), reason="no right to make a network namespace for Ray"
)
async def test_a_lost_node_loses_no_device() -> None:
    command = f"ip link set lo up && exec {sys.executable} -m tests.integration.ray_two_nodes"
    process = await asyncio.create_subprocess_exec(
        *(*_NAMESPACE, "sh", "-c", command),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    lines = output.decode().splitlines()
    found = [line for line in lines if line.startswith("RESULT ")]
    assert found, "\n".join(lines[-40:])
    result: dict[str, Any] = json.loads(found[0].removeprefix("RESULT "))
    assert [4, 4] == [row["devices"] for row in result["before"]]
    assert 2 == len({row["place"] for row in result["before"]}), "both shards on one node"
    assert 4 == len(result["on_victim"])
    assert result["on_victim"] == result["died"]
    assert 8 == sum(row["devices"] for row in result["after"])
    assert result["back_s"] < BACK_WITHIN_S
    assert 0 == result["numbered_twice"]
    assert 2 == len(result["restarted"]), "Ray did not start the actor again"
    assert result["victim"] not in {row["place"] for row in result["restarted"]}
