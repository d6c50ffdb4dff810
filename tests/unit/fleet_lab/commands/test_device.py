from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from collections.abc import Sequence

import pytest

from fleet_lab.cli import build_parser, main
from fleet_lab.commands import device
from fleet_lab.commands.device import make_devices
from fleet_lab.lines import Lines
from module_gateway.protocol.identity import Device
from module_gateway.protocol.internal import encode_connect_response
from tests.unit.fleet_lab.gateways import gateway


async def fleet_lab(*flags: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fleet_lab", *flags,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def run_device(*flags: str) -> tuple[int | None, str, str]:
    process = await fleet_lab("device", *flags)
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


def devices_of(flags: Sequence[str]) -> list[Device]:
    arguments = build_parser().parse_args(["device", *flags])
    return [d.introduction for d in make_devices(arguments, 1, Lines(sys.stdout))]


async def test_devices_send_print_commands_and_end_with_a_sum() -> None:
    async with gateway() as at:
        code, out, err = await run_device(
            "--module", "car_accessory", "--role", "button", "--count", "2", "--statuses", "3",
            "--period", "10ms", "--port", str(at.port), "--seed", "5", "--json",
        )  # fmt: skip
    entries = [json.loads(line) for line in out.splitlines()]
    assert (code, err) == (0, "")
    assert entries[0]["seed"] == 5
    assert {e["device"] for e in entries if e["event"] == "connected"} == {
        "1001/0/button_1", "1001/0/button_2",
    }  # fmt: skip
    commands = [json.loads(e["command"])["n"] for e in entries if e["event"] == "command"]
    assert sorted(commands) == [1, 1, 2, 2, 3, 3]
    assert entries[-1]["event"] == "end"
    assert {k: entries[-1][k] for k in ("sent", "answered", "connects", "failed")} == {
        "sent": 6, "answered": 6, "connects": 2, "failed": 0,
    }  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_stopping_is_no_failure(number: signal.Signals) -> None:
    async with gateway() as at:
        process = await fleet_lab("device", "--port", str(at.port), "--period", "10ms")
        assert process.stdout is not None
        while b"command" not in await process.stdout.readline():
            pass
        process.send_signal(number)
        out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert b"0 failed" in out.splitlines()[-1]


@pytest.mark.parametrize("response", [1, 2, 3, 4])
async def test_a_refusal_is_one_line_and_exit_code_1(response: int) -> None:
    async with gateway(lambda m: encode_connect_response(m.device, response)) as at:
        code, out, err = await run_device("--port", str(at.port))
    assert (code, err) == (1, "")
    assert [line.split(maxsplit=4)[4].split(":")[0] for line in out.splitlines()[1:-1]] == [
        "refused"
    ]


async def test_an_unreachable_gateway_is_one_line_and_exit_code_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    code, out, err = await run_device("--port", str(port))
    assert (code, err) == (1, "")
    assert f"cannot reach a gateway at 127.0.0.1:{port}: " in out.splitlines()[1]


async def test_a_waiting_device_finds_a_gateway_that_comes_later() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    process = await fleet_lab("device", "--port", str(port), "--wait", "--statuses", "1")
    assert process.stdout is not None
    while b"cannot reach a gateway" not in await process.stdout.readline():
        pass
    server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", port)
    process.terminate()
    await process.communicate()
    server.close()
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--period", "5"], "--period"),
        (["--module", "moon"], "--module"),
        (["--module", "99999999999"], "--module"),
        (["--port", "70000"], "--port"),
        (["--port", "0"], "--port"),
        (["--count", "0"], "--count"),
        (["--priority", "-1"], "--priority"),
        (["--type", "x"], "--type"),
        (["--payload", "moon"], "--payload"),
        (["--speed", "1"], "--speed"),
    ],
)
def test_a_bad_flag_is_named_and_exit_code_2(
    flags: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["device", *flags])
    assert caught.value.code == 2
    assert named in capsys.readouterr().err.splitlines()[-1]


def test_flags_describe_devices() -> None:
    assert devices_of(["--role", "left", "--name", "knob", "--priority", "3"]) == [
        Device.of(1001, 0, "left", "knob", 3)
    ]
    assert devices_of(["--module", "mission"]) == [Device.of(1, 1, "device", "device")]
    assert devices_of(["--module", "7", "--type", "4", "--count", "2"]) == [
        Device.of(7, 4, "device_1", "device_1"),
        Device.of(7, 4, "device_2", "device_2"),
    ]


def test_a_payload_may_be_chosen_for_any_number() -> None:
    arguments = build_parser().parse_args(["device", "--module", "2", "--payload", "car_accessory"])
    (device,) = make_devices(arguments, 1, Lines(sys.stdout))
    assert (device.introduction.identity.module, device.device.sample()) == (2, {"pressed": True})


def test_first_statuses_are_spread_over_one_period() -> None:
    arguments = build_parser().parse_args(["device", "--count", "4", "--period", "2s"])
    devices = make_devices(arguments, 1, Lines(sys.stdout))
    assert [d.first_after_s for d in devices] == [0.0, 0.5, 1.0, 1.5]


def test_too_few_open_files_is_one_line_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(device.resource, "getrlimit", lambda _: (64, 128))
    assert main(["device", "--count", "1000"]) == 1
    assert capsys.readouterr().err == (
        "fleet-lab: needs 1064 open files, the limit is 128; raise it with `ulimit -n 1064`\n"
    )


def test_the_soft_limit_is_raised_as_far_as_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(device.resource, "getrlimit", lambda _: (64, 4096))
    monkeypatch.setattr(device.resource, "setrlimit", lambda _, limits: asked.append(limits))
    assert device._raise_file_limit(1000) == ""
    assert asked == [(1000, 4096)]
