from __future__ import annotations

from pathlib import Path

from fleet_lab.fleets.board import Board, BoardRecorder, LastNumbers
from fleet_lab.recorder import NullRecorder
from tests.unit.fleet_lab.fleets.stand_ins import Remembering


def test_what_one_process_wrote_another_reads(tmp_path: Path) -> None:
    writer, reader = Board(tmp_path / "board"), Board(tmp_path / "board")
    BoardRecorder(writer, NullRecorder()).sent(999_999, 7, 0.0, 0.0)
    assert (7, 0) == (reader[999_999], reader[0])
    writer.close()
    reader.close()


def test_the_board_knows_before_the_recorder(tmp_path: Path) -> None:
    board = Board(tmp_path / "board")

    class Looking(NullRecorder):
        def sent(self, device: int, number: int, scheduled_s: float, sent_s: float) -> None:
            seen.append(board[device])

    seen: list[int] = []
    BoardRecorder(board, Looking()).sent(1, 5, 0.0, 0.0)
    assert [5] == seen
    board.close()


def test_last_numbers_pass_everything_on() -> None:
    inner = Remembering()
    last = LastNumbers(inner)
    last.connected(1, 0.0)
    last.sent(1, 4, 0.0, 0.0)
    last.answered(1, 4, 0.0, True)
    last.refused(1, 2)
    last.closed(1, "cut", 0.0)
    assert {1: 4} == last.numbers
    assert ["connected", "sent", "answered", "refused", "closed"] == [e[0] for e in inner.events]
