"""Positive controls of the rows with processes: the row fails when the product is broken.

K2's runs with the tests; `make chaos-controls` runs all.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.chaos.__main__ import KILL_ROWS, rows
from tests.mutants.runner import REPOSITORY, Applied, Mutant, copy_tree

LIMIT_S = 600.0
KILLS = ("--kills", "3", "--devices", "10", "--seed", "1", "--drain", "15")
ALL: list[dict[str, str]] = tomllib.loads(
    (Path(__file__).parent / "controls.toml").read_text(encoding="utf-8")
)["control"]
CHOSEN = [
    control
    for control in ALL
    if control["row"] == "K2" or os.environ.get("MODULE_GATEWAY_CHAOS_CONTROLS") == "all"
]


@pytest.mark.timeout(LIMIT_S)
@pytest.mark.parametrize("control", CHOSEN, ids=lambda each: f"{each['row']}_{each['name']}")
def test_a_row_fails_when_the_product_is_broken(control: dict[str, str], tmp_path: Path) -> None:
    tree = copy_tree(REPOSITORY, tmp_path / "tree")
    mutant = Mutant(control["name"], control["file"], control["find"], control["replace"], ("-",))
    with Applied(mutant, tree):
        if "word" in control:
            done = run(tree, "tests.chaos", "--rows", control["row"], *KILLS)
        else:
            done = run(tree, "pytest", "-q", "-p", "no:cacheprovider", control["test"])
    assert done.returncode == 1, done.stdout + done.stderr
    if "says" in control:
        assert control["says"] in done.stdout
        return
    verdict = json.loads(done.stdout.splitlines()[-1])
    found = verdict["late_kills"] if control["word"] == "late" else verdict[control["word"]]
    assert found, verdict


def run(tree: Path, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A program of this tree."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=tree,
        env={**ours, "PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


@pytest.mark.parametrize("control", ALL, ids=lambda each: f"{each['row']}_{each['name']}")
def test_a_control_breaks_one_place_and_names_how_its_row_fails(control: dict[str, str]) -> None:
    assert (REPOSITORY / control["file"]).read_text(encoding="utf-8").count(control["find"]) == 1
    is_kill_row = control["row"] in KILL_ROWS and "word" in control
    assert is_kill_row or control["test"] in rows()[control["row"]]["tests"]
