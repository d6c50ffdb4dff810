"""Row N5: a cable is pulled, and the identities of the devices at its end come free.

With short limits here; `python -m tests.chaos --rows N5` takes those of the product.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import Final

import pytest

from tests.chaos.pulled_cable import DEVICES
from tests.integration.stack import REPOSITORY

LIMIT_S: Final = 180.0
IS_FULL: Final = "MODULE_GATEWAY_CHAOS_FULL" in os.environ
KEEPALIVE: Final = (10, 3, 3) if IS_FULL else (1, 1, 1)
KEEPALIVE_S: Final = KEEPALIVE[0] + KEEPALIVE[1] * KEEPALIVE[2]
INACTIVITY_S: Final = 30 if IS_FULL else 7
SLACK_S: Final = INACTIVITY_S - KEEPALIVE_S - 1
"""Far more than newcomers' period; not so much that one limit could be taken for the other."""


def namespace() -> list[str]:
    """The command in front of a program that gives it a network namespace; or skips the test."""
    if shutil.which("ip") is None or shutil.which("unshare") is None:
        pytest.skip("needs iproute2 and util-linux")
    command = ["unshare", *(["--map-root-user"] if os.geteuid() else []), "--net"]
    veth = "ip link add name near type veth peer name far"
    tried = subprocess.run([*command, "sh", "-c", veth], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip(f"no network namespace is allowed here: {tried.stderr.decode().strip()}")
    return command


@pytest.mark.timeout(LIMIT_S)
def test_N5_R5_devices_whose_cable_was_pulled_do_not_keep_their_identities() -> None:
    done = subprocess.run(
        [
            *namespace(), sys.executable, "-m", "tests.chaos.pulled_cable",
            "--keepalive", *map(str, KEEPALIVE), "--inactivity-ms", str(INACTIVITY_S * 1000),
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    print(found)  # noqa: T201  # pytest shows it when the test fails
    assert len(found["refused"]) == DEVICES, "nobody was missed when the newcomers came"
    waits_s = [found["waits_s"][f"device_{number}"] for number in range(DEVICES)]
    assert max(waits_s[0::2]) < KEEPALIVE_S + SLACK_S, "keep-alive finds who is quiet"
    assert max(waits_s[1::2]) < INACTIVITY_S + SLACK_S, "TCP still repeats an answer to these"
    assert found["closed"]["inactive"] == DEVICES // 2
    assert found["slowest_s"] < SLACK_S, "a device that stays is answered all the time"
