"""Events of many devices as columns: cheap to collect in a worker, compact to carry over.

Layout (little-endian): five uint32 (sends, answers, other bytes, events dropped, format), then the
columns one after the other, then the rare events as JSON.
"""

from __future__ import annotations

import json
import struct
import sys
from array import array
from typing import Final, Literal, TypeVar

from fleet_lab.recorder import Recorder

ColumnT = TypeVar("ColumnT", "array[int]", "array[float]")

FORMAT: Final = 1
MAX_EVENTS: Final = 1_000_000
"""Kept between two `take`; more means that nobody listens, and they are counted and dropped."""
_HEADER: Final = struct.Struct("<5I")
_SEND_BYTES: Final = 4 + 4 + 8 + 8
_ANSWER_BYTES: Final = 4 + 4 + 8 + 1


class BatchRecorder:
    """A Recorder that only remembers; `take` gives what it has and starts anew."""

    __slots__ = (
        "_answered_devices", "_answered_numbers", "_answered_s", "_others", "_own", "_scheduled_s",
        "_sent_devices", "_sent_numbers", "_sent_s", "dropped",
    )  # fmt: skip

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self._sent_devices, self._sent_numbers = array("I"), array("I")
        self._scheduled_s, self._sent_s = array("d"), array("d")
        self._answered_devices, self._answered_numbers = array("I"), array("I")
        self._answered_s, self._own = array("d"), array("B")
        self._others: list[list[object]] = []
        self.dropped = 0

    def sent(self, device: int, number: int, scheduled_s: float, sent_s: float) -> None:
        """As in Recorder."""
        if len(self._sent_devices) >= MAX_EVENTS:
            self.dropped += 1
            return
        self._sent_devices.append(device)
        self._sent_numbers.append(number)
        self._scheduled_s.append(scheduled_s)
        self._sent_s.append(sent_s)

    def answered(self, device: int, number: int, answered_s: float, is_own: bool) -> None:  # noqa: FBT001  # as in Recorder
        """As in Recorder."""
        if len(self._answered_devices) >= MAX_EVENTS:
            self.dropped += 1
            return
        self._answered_devices.append(device)
        self._answered_numbers.append(number)
        self._answered_s.append(answered_s)
        self._own.append(is_own)

    def closed(self, device: int, reason: str, at_s: float) -> None:
        """As in Recorder."""
        self._other("closed", device, reason, at_s)

    def refused(self, device: int, response: int) -> None:
        """As in Recorder."""
        self._other("refused", device, response)

    def connected(self, device: int, at_s: float) -> None:
        """As in Recorder."""
        self._other("connected", device, at_s)

    def __len__(self) -> int:
        return len(self._sent_devices) + len(self._answered_devices) + len(self._others)

    def take(self) -> bytes:
        """Everything since the last call, for `replay`."""
        others = json.dumps(self._others, separators=(",", ":")).encode()
        sends, answers = len(self._sent_devices), len(self._answered_devices)
        parts = [
            _HEADER.pack(sends, answers, len(others), self.dropped, FORMAT),
            _to_bytes(self._sent_devices), _to_bytes(self._sent_numbers),
            _to_bytes(self._scheduled_s), _to_bytes(self._sent_s),
            _to_bytes(self._answered_devices), _to_bytes(self._answered_numbers),
            _to_bytes(self._answered_s), _to_bytes(self._own),
            others,
        ]  # fmt: skip
        self._start()
        return b"".join(parts)

    def _other(self, *event: object) -> None:
        if len(self._others) >= MAX_EVENTS:
            self.dropped += 1
            return
        self._others.append(list(event))


def replay(batch: bytes, recorder: Recorder) -> int:
    """Tell a recorder what a batch holds: sends, then answers, then the rest, each in order.

    Returns:
        How many events the worker had to drop.

    Raises:
        ValueError: it is no batch.
    """
    if len(batch) < _HEADER.size:
        raise ValueError("a batch of events is too short")
    sends, answers, others, dropped, version = _HEADER.unpack_from(batch)
    size_bytes = _HEADER.size + sends * _SEND_BYTES + answers * _ANSWER_BYTES + others
    if version != FORMAT or len(batch) != size_bytes:
        raise ValueError("not a batch of events of this format")
    columns = _Columns(batch)
    for device, number, scheduled_s, sent_s in zip(
        columns.integers("I", sends), columns.integers("I", sends),
        columns.reals(sends), columns.reals(sends), strict=True,
    ):  # fmt: skip
        recorder.sent(device, number, scheduled_s, sent_s)
    for device, number, answered_s, is_own in zip(
        columns.integers("I", answers), columns.integers("I", answers),
        columns.reals(answers), columns.integers("B", answers), strict=True,
    ):  # fmt: skip
        recorder.answered(device, number, answered_s, bool(is_own))
    for event in json.loads(columns.take(others)):
        _tell(event, recorder)
    return int(dropped)


class _Columns:
    def __init__(self, batch: bytes) -> None:
        self._batch = memoryview(batch)
        self._offset = _HEADER.size

    def take(self, size_bytes: int) -> bytes:
        start, self._offset = self._offset, self._offset + size_bytes
        return bytes(self._batch[start : self._offset])

    def integers(self, code: Literal["B", "I"], count: int) -> array[int]:
        column = array(code)
        column.frombytes(self.take(count * column.itemsize))
        return _swapped(column)

    def reals(self, count: int) -> array[float]:
        column = array("d")
        column.frombytes(self.take(count * column.itemsize))
        return _swapped(column)


def _to_bytes(column: ColumnT) -> bytes:
    return _swapped(column).tobytes()


def _swapped(column: ColumnT) -> ColumnT:
    """Little-endian from the machine's own order, or back, in place."""
    if sys.byteorder == "big":
        column.byteswap()
    return column


def _tell(event: object, recorder: Recorder) -> None:
    match event:
        case ["closed", int(device), str(reason), float() | int() as at_s]:
            recorder.closed(device, reason, at_s)
        case ["refused", int(device), int(response)]:
            recorder.refused(device, response)
        case ["connected", int(device), float() | int() as at_s]:
            recorder.connected(device, at_s)
        case _:
            raise ValueError("an event of a batch is none of the known ones")
