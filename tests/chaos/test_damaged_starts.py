"""Row D3: the real process starts on 50 damaged stores, and serves what is intact.

10,000 more damages without processes are in `tests/property/test_store_damage.py`. How long starts
take is judged beside starts on an empty store, which suffer from the same company.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, Final

import pytest

from module_gateway.module_handler.buffer.view import store_path
from module_gateway.module_handler.store_opening import Plan, open_writer
from tests.brokers import MosquittoBroker
from tests.integration.stack import REPOSITORY, START_LIMIT_S
from tests.store_damage import MUTATIONS, Damage, Sample, check_found, contents_of, sample

STARTS: Final = 50
EMPTY_EVERY: Final = 5
AT_ONCE: Final = 2
LARGE_BATCH: Final = 10_000
"""Makes stores of 5 to 9 MB."""
READY_S: Final = 2.0
"""Issue 4: a damaged store is ready so soon on a machine that does nothing else."""
EMPTY_S: Final = 0.45
"""What a start on an empty store takes there."""
LIMIT_S: Final = 300.0
SETTINGS: Final = {
    "config-version": 1,
    "module-paths": {"7": "transparent", "8": "transparent"},
    # Devices are in the store and nowhere else: none of them is given up while we look.
    "module-handler-settings": {"metrics-port": 0, "return-grace-ms": 600_000},
    "external-connection": {
        "endpoints": [
            {"protocol-type": "mqtt", "server-ip": "127.0.0.1", "port": 1, "modules": [7, 8]}
        ]
    },
}


@pytest.fixture
def configuration(tmp_path: Path) -> Iterator[Path]:
    file = tmp_path / "config.json"
    with MosquittoBroker(tmp_path, has_tcp=False) as broker:
        file.write_text(json.dumps({**SETTINGS, "bus": {"socket": str(broker.socket_path)}}))
        yield file


async def start_and_kill(configuration: Path, state_dir: Path) -> float:
    """Run a handler until it says that it is ready; how many seconds that took."""
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "module_gateway", "module-handler",
        "--config", str(configuration), "--state-dir", str(state_dir),
        stderr=asyncio.subprocess.PIPE, cwd=REPOSITORY,
        env={k: v for k, v in os.environ.items() if not k.startswith("IPC_MQTT")},
    )  # fmt: skip
    said: list[str] = []
    assert process.stderr is not None
    try:
        async with asyncio.timeout(START_LIMIT_S):
            async for line in process.stderr:
                said.append(line.decode())
                if '"ready"' in said[-1]:
                    return time.monotonic() - began
        raise AssertionError("".join(said))
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@dataclass
class Trial:
    """A damaged store and a state folder for it."""

    number: int
    case: str
    sound: Sample
    damage: Damage
    state_dir: Path

    def beside(self, word: str) -> Path:
        """Another state folder, of this name."""
        return self.state_dir.with_name(f"{self.state_dir.name}-{word}")

    @property
    def path(self) -> Path:
        return store_path(self.state_dir)

    def write(self) -> None:
        self.path.parent.mkdir(parents=True)
        self.sound.write(self.path, self.damage.files)

    def findings(self) -> list[dict[str, Any]]:
        """What all reports say that lie beside the store."""
        reports = [json.loads(each.read_text()) for each in self.state_dir.rglob("report.json")]
        return [finding for report in reports for finding in report["findings"]]

    def judge(self) -> bool:
        """Compare what is left with what must be; whether damage was reported."""
        findings = self.findings()
        for each in findings:
            assert each["reason"], self.case
            assert each["part"] and each["offset"] >= 0, self.case  # noqa: PT018
        writer = open_writer(Plan(self.path, is_synced=False, max_verdicts=50))
        try:
            loaded = writer.loaded
            check_found(
                self.case,
                self.sound,
                self.damage,
                contents_of(writer),
                loaded.store_id,
                loaded.state.last_sequence,
                [each["reason"] for each in findings],
            )
        finally:
            writer.close()
        assert findings == self.findings(), f"{self.case}: the process left damage behind"
        return bool(findings)


def trials(folder: Path) -> list[Trial]:
    """Each mutation in turn, on small and on large stores."""
    sound = [sample(folder, each, LARGE_BATCH if each % 2 else 20) for each in range(6)]
    names = list(MUTATIONS)
    made = []
    for seed in range(STARTS):
        name, random = names[seed % len(names)], Random(seed)
        chosen = sound[seed % len(sound)]
        damage = MUTATIONS[name](random, chosen.files)
        made.append(Trial(seed, f"{name}, seed {seed}", chosen, damage, folder / f"state-{seed}"))
    return made


@pytest.mark.timeout(LIMIT_S)
async def test_D3_the_process_becomes_ready_on_each_of_50_damaged_stores(
    configuration: Path, tmp_path: Path
) -> None:
    turns = asyncio.Semaphore(AT_ONCE)
    empty_s: list[float] = []

    async def start(trial: Trial) -> float:
        trial.write()
        async with turns:
            if trial.number % EMPTY_EVERY == 0:
                empty_s.append(await start_and_kill(configuration, trial.beside("empty")))
            return await start_and_kill(configuration, trial.state_dir)

    tried = trials(tmp_path)
    took_s = await asyncio.gather(*map(start, tried))
    slowest = max(zip(took_s, (trial.case for trial in tried), strict=True))
    print(  # noqa: T201  # pytest shows it when the test fails
        f"empty {median(empty_s):.2f} s, at most {max(empty_s):.2f} s; "
        f"damaged {median(took_s):.2f} s, at most {slowest[0]:.2f} s: {slowest[1]}"
    )
    for trial, each_s in zip(tried, took_s, strict=True):
        if each_s > limit_s(median(empty_s)):
            await is_in_time_alone(configuration, trial)
    reported = [trial.case for trial in tried if trial.judge()]
    assert STARTS // 2 < len(reported), reported


def limit_s(empty_s: float) -> float:
    """Within which a damaged store must be ready when an empty one takes `empty_s`."""
    return READY_S * max(1.0, empty_s / EMPTY_S)


async def is_in_time_alone(configuration: Path, trial: Trial) -> None:
    """Try once more what was late: somebody else may have had the machine for a moment."""
    again = replace(trial, state_dir=trial.beside("again"))
    again.write()
    empty_s = await start_and_kill(configuration, trial.beside("empty again"))
    took_s = await start_and_kill(configuration, again.state_dir)
    assert took_s <= limit_s(empty_s), f"{trial.case}: {took_s:.2f} s, empty {empty_s:.2f} s"
