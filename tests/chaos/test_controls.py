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

from tests.mutants.runner import REPOSITORY, Applied, Mutant, copy_tree

LIMIT_S = 300.0
ALL = tomllib.loads((Path(__file__).parent / "controls.toml").read_text())["control"]
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
        done = subprocess.run(
            [
                sys.executable, "-m", "tests.chaos", "--rows", control["row"],
                "--kills", "3", "--devices", "10", "--seed", "1", "--drain", "15",
            ],
            cwd=tree,
            env={**os.environ, "PYTHONPATH": str(tree)},
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    verdict = json.loads(done.stdout.splitlines()[-1])
    found = verdict["late_kills"] if control["word"] == "late" else verdict[control["word"]]
    assert found, verdict
