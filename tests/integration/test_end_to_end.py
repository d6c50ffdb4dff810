"""The real processes and a real Mosquitto, from one command to a command at the device."""

from __future__ import annotations

import json
import re

import pytest

from tests.integration.stack import (
    DEMO_ROLES,
    RECOVERY_LIMIT_S,
    control_plane_api,
    demo_configuration,
    running_stack,
)

AFTER_READY_LIMIT_S = RECOVERY_LIMIT_S / 3
"""5 s after the set-up of an idle machine, all three devices have been seen upstream."""
COMMAND_LIMIT_S = 60.0
START = {
    "action": "START",
    "route": "north",
    "stops": [
        {"name": "Gate", "position": {"latitude": 49.2, "longitude": 16.6, "altitude": 230.0}}
    ],
}


@pytest.mark.timeout(400)
async def test_the_demo_shows_three_devices_takes_a_command_and_stops_cleanly() -> None:
    async with running_stack(demo_configuration(), "--demo") as stack:
        async with control_plane_api(stack) as api:
            statuses = await api.statuses(DEMO_ROLES, AFTER_READY_LIMIT_S)
            assert statuses["left_button"]["status"]["data"].keys() >= {"pressed", "n"}
            detail = await api.get(api.vehicle)
            assert {d["role"] for d in detail["devices"] if d["is_connected"]} == DEMO_ROLES

            seen = len(stack.lines)
            autonomy = api.device(1, 1, "autonomy")
            assert await api.command(autonomy, START, COMMAND_LIMIT_S) == "ok"
            await stack.wait_for_line(
                lambda line: "1/1/autonomy" in line and '"north"' in line,
                COMMAND_LIMIT_S,
                since=seen,
            )
        assert await stack.stop() == 0


@pytest.mark.timeout(400)
async def test_what_the_demo_tells_people_to_type_works() -> None:
    async with running_stack(demo_configuration(), "--demo") as stack:
        await stack.wait_for_line(lambda line: "Stop  " in line, COMMAND_LIMIT_S)
        shown = "\n".join(stack.lines).split("  Page", 1)[1].split("  Stop")[0]
        async with control_plane_api(stack) as api:
            await api.statuses(DEMO_ROLES, AFTER_READY_LIMIT_S)
            urls = re.findall(r"curl (http\S+)", shown)
            assert urls
            for url in urls:
                assert await api.get(url)
            (body, device), *_ = re.findall(r"-d '(.*?)' \\\s+(http\S+)/commands", shown)
            assert await api.command(device, json.loads(body)["command"], COMMAND_LIMIT_S) == "ok"
        assert await stack.stop() == 0
