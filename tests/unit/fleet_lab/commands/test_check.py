from __future__ import annotations

import json
from pathlib import Path

import pytest

from fleet_lab.cli import main

GOOD = """
title = "a tunnel"
seed = 7
duration = "10s"
checks = ["lost == 0"]

[[fleet]]
name = "cars"
device = "mission"
size = 20
sink = "fleet-protocol://127.0.0.1:8888"

[[step]]
at = "2s"
do = "link"
fleet = "cars"
link = "OFFLINE"
for = "5s"

[[tap]]
mqtt = "127.0.0.1:18883"
"""


def test_a_good_file_is_summed_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "fleet.toml"
    file.write_text(GOOD)
    assert main(["check", str(file)]) == 0
    assert capsys.readouterr().out == (
        f"{file}: cars (20 devices), 10 s; 1 steps, 1 checks, 1 taps\n"
    )
    assert main(["check", str(file), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["fleets"] == {"cars": 20}
    assert (found["checks"], found["seed"], found["duration_s"]) == (["lost == 0"], 7, 10.0)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"OFFLINE"', '"OFLINE"', "OFFLINE"),
        ('"mission"', '"mision"', "mission"),
        ('"lost == 0"', '"lots == 0"', "lost"),
        ("seed = 7", "seeed = 7", "seed"),
    ],
)
def test_a_bad_file_is_one_line_with_the_nearest_spelling(
    old: str, new: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "fleet.toml"
    file.write_text(GOOD.replace(old, new))
    assert main(["check", str(file)]) == 78
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"fleet-lab: {file}: ")
    assert said in err
