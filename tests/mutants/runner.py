"""One-line breakages of the product, each with the tests that must notice it.

`tests/mutants/*.toml` hold them. A mutant is applied to a private copy of the tree and its tests
run there, in a process of their own; a test that still passes has survived and is worth nothing.
The files say

    [[mutant]]
    name = "what_is_broken"
    file = "module_gateway/…/registry.py"      # relative to the repository
    find = "exact source text"                 # stands exactly once in that file
    replace = "broken text"
    kills = ["tests/unit/…/test_registry.py::test_I6_…"]
"""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

REPOSITORY: Final = Path(__file__).resolve().parents[2]
COPIED: Final = ("module_gateway", "fleet_lab", "tests", "examples", "config", "docs")
"""Folders that tests may need. Files beside them are copied too, hidden ones excepted."""

RUN_LIMIT_S: Final = 900.0
"""Of all named tests together, on a machine that has much else to do."""
BROKEN_LIMIT_S: Final = 15.0
"""Per test: a broken product often hangs, a whole one answers long before."""
BROKEN_PATIENCE: Final = 0.1
"""What tests do not wait for when the product is broken: a part of their limits."""
WHOLE_LIMIT_S: Final = 180.0
"""Per test of the unbroken tree, on a machine that has much else to do."""
_KEYS: Final = {"name", "file", "find", "replace", "kills"}
_OUTCOME: Final = re.compile(
    r"^(PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS) (tests/\S+\.py(?:::\S+)?)"
)


class MutantError(Exception):
    """A mutant cannot be used as written; its text says which and why."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One breakage and the tests that it must break."""

    name: str
    file: str
    find: str
    replace: str
    kills: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run of tests printed: the verdict per test, and everything for the reader."""

    verdicts: Mapping[str, frozenset[str]]
    output: str

    def of(self, test: str) -> frozenset[str]:
        """Verdicts of a test function: one per parameter set, empty when it did not run."""
        return self.verdicts.get(test, frozenset())


def load(folder: Path) -> list[Mutant]:
    """All mutants of a folder, in order of file and place.

    Raises:
        MutantError: a key is missing, unknown or of the wrong type, or a name appears twice.
    """
    mutants: list[Mutant] = []
    seen: dict[str, Path] = {}
    for path in sorted(folder.glob("*.toml")):
        for entry in tomllib.loads(path.read_text(encoding="utf-8")).get("mutant", []):
            mutant = _parse(path.name, entry)
            if mutant.name in seen:
                raise MutantError(f"{mutant.name} stands in {seen[mutant.name]} and in {path.name}")
            seen[mutant.name] = path
            mutants.append(mutant)
    return mutants


def _parse(source: str, entry: Mapping[str, object]) -> Mutant:
    where = f"{source}: {entry.get('name', 'a mutant without a name')}"
    if set(entry) != _KEYS:
        raise MutantError(f"{where}: needs exactly {sorted(_KEYS)}, has {sorted(entry)}")
    kills = entry["kills"]
    if not isinstance(kills, list) or not kills:
        raise MutantError(f"{where}: kills must list at least one test")
    for test in kills:
        if not isinstance(test, str) or "::" not in test or "[" in test:
            raise MutantError(f"{where}: {test!r} is not path::function")
    texts = [entry[key] for key in ("name", "file", "find", "replace")]
    name, file, find, replace = (text if isinstance(text, str) else "" for text in texts)
    if not (name and file and find) or find == replace:
        raise MutantError(f"{where}: name, file and find must be texts, replace another one")
    return Mutant(name, file, find, replace, tuple(kills))


def copy_tree(source: Path, target: Path) -> Path:
    """A private copy of what tests need, with compiled files, so that starting is quick."""
    target.mkdir(parents=True, exist_ok=True)
    for path in source.iterdir():
        if path.is_file() and not path.name.startswith("."):
            shutil.copy2(path, target / path.name)
        elif path.name in COPIED:
            shutil.copytree(path, target / path.name)
    return target


class Applied:
    """Context: the tree is broken by one mutant inside, and whole again outside."""

    def __init__(self, mutant: Mutant, tree: Path) -> None:
        self._path = tree / mutant.file
        self._mutant = mutant
        self._whole = b""

    def __enter__(self) -> None:
        mutant = self._mutant
        if not self._path.is_file():
            raise MutantError(f"{mutant.name}: there is no {mutant.file}")
        self._whole = self._path.read_bytes()
        source = self._whole.decode()
        times = source.count(mutant.find)
        if times != 1:
            raise MutantError(
                f"{mutant.name}: find stands {times} times in {mutant.file}, not once"
            )
        self._write(source.replace(mutant.find, mutant.replace).encode())

    def __exit__(self, *_: object) -> None:
        if self._whole:
            self._write(self._whole)

    def _write(self, source: bytes) -> None:
        # A compiled file is trusted by time and size, which a quick edit may leave as they were.
        for compiled in (self._path.parent / "__pycache__").glob(f"{self._path.stem}.*.pyc"):
            compiled.unlink()
        self._path.write_bytes(source)


class Nursery:
    """Runs tests of a tree, each run in a fresh process that started warm (see `nursery.py`)."""

    def __init__(self) -> None:
        ours = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "COLUMNS"))}
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("nursery.py"))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ours, start_new_session=True,
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()

    def run(
        self,
        tree: Path,
        tests: Iterable[str],
        limit_s: float = BROKEN_LIMIT_S,
        patience: float = BROKEN_PATIENCE,
    ) -> Outcome:
        """Run the named tests, each for at most `limit_s`; `patience` scales limits inside them.

        Raises:
            MutantError: the run takes longer than RUN_LIMIT_S.
        """
        arguments = [
            *sorted(set(tests)), "-q", "-rap", "--tb=short", "--show-capture=no",
            "--timeout", f"{limit_s:g}",
            "-p", "no:randomly", "-p", "no:cacheprovider", "-p", "no:xdist",
            "-p", "no:unraisableexception",  # a broken product may well leave something behind
            "-W", "ignore::pytest.PytestAssertRewriteWarning",  # libraries are there already
        ]  # fmt: skip
        output = tree / ".output"
        request = {
            "tree": str(tree), "arguments": arguments, "output": str(output),
            "environ": {"MODULE_GATEWAY_TEST_PATIENCE": f"{patience:g}"},
        }  # fmt: skip
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps(request).encode() + b"\n")
        stdin.flush()
        if not select.select([stdout], [], [], RUN_LIMIT_S)[0]:
            raise MutantError(f"the tests took longer than {RUN_LIMIT_S:.0f} s")
        if not stdout.readline():
            raise MutantError("the nursery died; its standard error says why")
        text = output.read_text(errors="replace")
        return Outcome(_verdicts(text), text)


def _verdicts(output: str) -> dict[str, frozenset[str]]:
    verdicts: dict[str, frozenset[str]] = {}
    for line in output.splitlines():
        if match := _OUTCOME.match(line):
            verdict, test = match[1], match[2].split("[")[0]
            verdicts[test] = verdicts.get(test, frozenset()) | {verdict}
    return verdicts


def survivors(mutant: Mutant, tree: Path, nursery: Nursery) -> str:
    """Which of the mutant's tests do not fail under it; "" when all of them do.

    A parametrised test is killed when one of its parameter sets fails.

    Raises:
        MutantError: the mutant does not apply or breaks the import instead of the behaviour.
    """
    with Applied(mutant, tree):
        outcome = nursery.run(tree, mutant.kills)
    lines = []
    for test in mutant.kills:
        verdicts = outcome.of(test)
        if not verdicts:
            raise MutantError(f"{mutant.name}: {test} did not run:\n{outcome.output[-2000:]}")
        if "FAILED" not in verdicts:
            lines.append(f"{mutant.name} ({mutant.file}) survives {test}: {', '.join(verdicts)}")
    return "\n".join(lines)


def failing_when_whole(mutants: Sequence[Mutant], tree: Path, nursery: Nursery) -> str:
    """Which named tests do not pass in an unbroken tree; "" when all of them do."""
    tests = {test for mutant in mutants for test in mutant.kills}
    if not tests:
        return ""
    outcome = nursery.run(tree, tests, WHOLE_LIMIT_S, patience=1.0)
    bad = [
        f"{test}: {', '.join(sorted(outcome.of(test))) or 'did not run'}"
        for test in sorted(tests)
        if outcome.of(test) != {"PASSED"}
    ]
    return "\n".join([*bad, outcome.output[-4000:]]) if bad else ""
