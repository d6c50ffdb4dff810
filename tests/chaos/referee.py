"""What devices under faults report, and what of it must not be."""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

from module_gateway.protocol.identity import Device
from tests.modules.echo import answer_to


@dataclass(frozen=True, slots=True)
class Answered:
    """One status of a device that got its command."""

    number: int
    at: float
    waited_s: float


class Referee:
    """Collects everything that must not happen, and everything that was promised.

    Attributes:
        is_wild: devices misbehave as long as this is true.
        wrong: what must not have happened, in words.
        counts: how often devices did and met what.
    """

    def __init__(self) -> None:
        self.is_wild = True
        self.wrong: list[str] = []
        self.counts: Counter[str] = Counter()
        self.answered: defaultdict[str, list[Answered]] = defaultdict(list)

    def judge(self, device: Device, status: bytes, command: bytes, sent_at: float) -> None:
        """A command came where the answer to `status` was due."""
        if command != answer_to(status):
            self.wrong.append(f"{device} got {command!r} for {status!r}")
        now = time.monotonic()
        number = json.loads(status)["n"]
        self.answered[device.identity.role].append(Answered(number, now, now - sent_at))
        self.counts["answered"] += 1

    def last_answers(self) -> dict[str, float]:
        """When each device was answered last, on the monotonic clock."""
        return {role: answers[-1].at for role, answers in self.answered.items() if answers}

    def missing(
        self, role: str, history: list[dict[str, Any]], excused: list[Answered]
    ) -> set[int]:
        """Numbers that were answered and are neither upstream nor in a fold nor excused."""
        seen: set[int] = {answer.number for answer in excused}
        for entry in history:
            seen.add(entry["status"]["data"]["n"])
            if entry["error"] is not None:
                seen.update(entry["error"]["data"])
        return {answer.number for answer in self.answered[role]} - seen

    @staticmethod
    def told_twice(history: list[dict[str, Any]]) -> set[int]:
        """Numbers that count more than once at the control plane.

        What has no position repeats the status of a device that is announced once more, and a
        DISCONNECT repeats the last one if there is nothing new to say.
        """
        told: Counter[int] = Counter()
        last = None
        for entry in history:
            number = entry["status"]["data"]["n"]
            if entry["error"] is not None:
                told.update(entry["error"]["data"])
            elif entry["position"] is not None and (
                entry["state"] != "disconnect" or number != last
            ):
                told[number] += 1
            last = number
        return {number for number, times in told.items() if times > 1}
