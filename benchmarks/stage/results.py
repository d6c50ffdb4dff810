"""What was measured: as JSON, as a table, and against the figures that we want to reach."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.stage.round_trips import Sample, median_of

SYNCS: Final = 200


@dataclass
class Results:
    """Rounds by line; a line is a name like `same/100` and has one list of samples per gateway."""

    tools: str
    machine: dict[str, Any]
    lines: dict[str, dict[str, list[Sample]]] = field(default_factory=dict)

    def add(self, line: str, name: str, sample: Sample) -> None:
        """One round of one gateway."""
        self.lines.setdefault(line, {}).setdefault(name, []).append(sample)

    def rounds(self, line: str, name: str) -> list[Sample]:
        """All rounds of it, none if it was not measured."""
        return self.lines.get(line, {}).get(name, [])

    def median(self, line: str, name: str) -> Sample | None:
        """The median of each figure."""
        rounds = self.rounds(line, name)
        return median_of(rounds) if rounds else None

    def share(self, line: str, figure: str, name: str) -> float | None:
        """The median over the rounds of a figure as a part of the empty gateway's next to it."""
        pairs = zip(self.rounds(line, name), self.rounds(line, "empty"), strict=False)
        parts = [mine[figure] / empty[figure] for mine, empty in pairs if empty.get(figure)]
        return statistics.median(parts) if parts else None

    def save(self, file: Path) -> None:
        """Write it as JSON."""
        content = {"tools": self.tools, "machine": self.machine, "lines": self.lines}
        file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, file: Path) -> Results:
        """Read what `save` wrote."""
        content = json.loads(file.read_text(encoding="utf-8"))
        return cls(content["tools"], content["machine"], content["lines"])


def describe_machine(folder: Path) -> dict[str, Any]:
    """What the figures depend on; `folder` is on the disk that the gateway writes to."""
    processors = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":", 1)[1].strip() for line in processors if "model name" in line), "")
    median_ms, p99_ms = sync_ms(folder)
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": model or platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "mosquitto": _mosquitto_version(),
        "fdatasync_p50_ms": round(median_ms, 3),
        "fdatasync_p99_ms": round(p99_ms, 3),
    }


def _mosquitto_version() -> str:
    path = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
    try:
        said = subprocess.run(
            ["mosquitto", "-h"],
            capture_output=True, text=True, check=False, env={"PATH": path},
        ).stdout  # fmt: skip
    except OSError:
        return "none"
    return said.split()[2] if said.startswith("mosquitto version") else "unknown"


def sync_ms(folder: Path) -> tuple[float, float]:
    """(median, 99th percentile) of one appended page and its fdatasync."""
    file = os.open(folder / "sync", os.O_CREAT | os.O_WRONLY)
    took = []
    try:
        for _ in range(SYNCS):
            os.write(file, b"x" * 4096)
            start = time.perf_counter()
            os.fdatasync(file)
            took.append((time.perf_counter() - start) * 1e3)
    finally:
        os.close(file)
    cut = statistics.quantiles(took, n=100)
    return cut[49], cut[98]


def markdown(header: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterable[str]:
    """A table."""
    yield "| " + " | ".join(header) + " |"
    yield "|" + "---|" * len(header)
    for row in rows:
        yield "| " + " | ".join(map(str, row)) + " |"
