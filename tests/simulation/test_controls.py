"""Row X1's positive controls: under each one-line breakage of the product some seed fails."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.mutants.runner import REPOSITORY, Applied, Mutant, copy_tree

SEEDS = "0-149"
"""As many as a breakage may need until one of them notices it; most need a few."""
LIMIT_S = 300.0
_CONTROLS = tomllib.loads((Path(__file__).parent / "controls.toml").read_text())["control"]


def simulate(tree: Path, *arguments: str, hash_seed: str = "random") -> tuple[int, str]:
    """Exit code and output of the simulation in a tree, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation", *arguments],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree), "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_tree(REPOSITORY, tmp_path_factory.mktemp("simulation") / "tree")


@pytest.mark.timeout(LIMIT_S)
@pytest.mark.parametrize("control", _CONTROLS, ids=lambda each: each["name"])
def test_a_seed_fails_when_the_product_is_broken(control: dict[str, str], tree: Path) -> None:
    mutant = Mutant(control["name"], control["file"], control["find"], control["replace"], ("-",))
    with Applied(mutant, tree):
        code, output = simulate(tree, "--seeds", SEEDS, "--first")
    assert (1, True) == (code, "failed" in output), output
    assert control["says"] in output


@pytest.mark.timeout(LIMIT_S)
def test_a_seed_gives_the_same_run_in_every_process(tree: Path) -> None:
    one, other = (
        simulate(tree, "--seeds", "0-9", "--digest", hash_seed=each)[1].splitlines()[0]
        for each in ("1", "2")
    )
    assert one == other
