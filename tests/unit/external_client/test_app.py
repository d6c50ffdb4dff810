"""The process: configuration, signals, exit codes."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from pathlib import Path

import pytest

from module_gateway.external_client import app
from tests.brokers import free_port

ROOT = Path(__file__).resolve().parents[3]


def configuration(folder: Path, **endpoint: object) -> Path:
    path = folder / "gateway.json"
    path.write_text(
        json.dumps(
            {
                "config-version": 1,
                "external-connection": {
                    "company": "acme",
                    "vehicle-name": "van",
                    "endpoints": [
                        {
                            "protocol-type": "mqtt",
                            "server-ip": "127.0.0.1",
                            "port": free_port(),
                            "modules": [1000],
                            **endpoint,
                        }
                    ],
                },
                "external-client-settings": {"metrics-port": 0},
            }
        )
    )
    return path


def test_incomplete_tls_ends_with_78(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = configuration(tmp_path, **{"mqtt-settings": {"ssl": True}})
    with pytest.raises(SystemExit) as ended:
        app.main(["--config", str(path), "--state-dir", str(tmp_path)])
    assert 78 == ended.value.code
    assert "ca-file" in capsys.readouterr().err


def test_wrong_usage_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        app.main(["--nonsense"])
    assert 2 == ended.value.code
    assert "--nonsense" in capsys.readouterr().err


async def test_case38_sigterm_in_an_outage_ends_the_process_within_three_seconds(
    tmp_path: Path,
) -> None:
    """Neither bus nor control plane is there."""
    took_s: list[float] = []
    while not took_s or (min(took_s) >= 3.0 and len(took_s) < 5):  # the machine may be busy
        took_s.append(await time_of_a_stop(tmp_path))
    assert min(took_s) < 3.0


async def time_of_a_stop(tmp_path: Path) -> float:
    """From the signal to the end of the process, in seconds."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "run_external_client.py"),
        *("--config", str(configuration(tmp_path)), "--state-dir", str(tmp_path)),
        *("--log-format", "json"),
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    assert process.stderr is not None
    seen = b""
    async with asyncio.timeout(120):
        while b"broker_down" not in seen:
            line = await process.stderr.readline()
            assert line, seen.decode()
            seen += line
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        await process.stderr.read()
        assert 0 == await process.wait()
    return time.monotonic() - began
