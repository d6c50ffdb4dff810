from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from fleet_lab.devices.generators import Stream
from fleet_lab.devices.template_generators import choice, read_rows, replay, sine


def test_weights_are_kept() -> None:
    drawn = list(islice(choice(Stream(1), "ab", [1.0, 3.0]), 4000))
    assert drawn.count("b") == pytest.approx(3000, abs=120)


def test_a_wave_may_begin_anywhere_in_its_period() -> None:
    assert list(islice(sine(Stream(1), 0.0, 1.0, 4.0, 0.25, 3), 4)) == [1, 0, -1, 0]


def test_a_replay_begins_again_at_its_end() -> None:
    assert list(islice(replay(Stream(1), "abc", 2), 4)) == ["c", "a", "b", "c"]


def test_cells_are_numbers_words_or_empty(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('v\n1\n-2.5\nnull\n"{""a"": 1}"\nx y\n')
    assert read_rows(tmp_path / "t.csv", "v") == [1, -2.5, None, '{"a": 1}', "x y"]
