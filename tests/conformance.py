"""Which test shows which item of the specification.

`python -m tests.conformance` writes `docs/conformance.md` from the names of the tests;
`--check` writes nothing and exits 1 when an item has neither a test nor a reason, when a test or
a reason names an item that does not exist, or when the page is not what would be written.

Names: `test_I6_<words>` for a checklist item, `test_case12_<words>` for a case,
`test_R5_<words>` for a contract rule. Titles stand in `conformance_items.toml`, reasons for
what is not met (or met only in part) in `conformance_exceptions.toml`.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parents[1]
PAGE: Final = REPOSITORY / "docs" / "conformance.md"
GROUPS: Final = {"W": 9, "I": 21, "M": 13, "C": 8, "E": 25, "A": 7, "F": 5, "B": 7, "O": 5}
"""Items per group of the checklist, fleet-protocol 10."""
CASES: Final = 60
"""Given/when/then cases, fleet-protocol 9."""
RULES: Final = 23
"""Rules of the contract."""
MUTATED_GROUPS: Final = "IMCEA"
"""Groups whose tests must each fail under a named mutation."""

_NAME: Final = re.compile(r"test_(case|[WIMCEAFBOR])(\d+)_")


@dataclass(frozen=True, slots=True)
class NamedTest:
    """One test function and the item that it is named after."""

    item: str
    path: str
    name: str

    @property
    def node(self) -> str:
        """How pytest calls it."""
        return f"{self.path}::{self.name}"


def all_items() -> list[str]:
    """Every item there is, in the order of the page: W1 … O5, case1 … case60, R1 … R23."""
    checklist = [f"{group}{n}" for group, last in GROUPS.items() for n in range(1, last + 1)]
    cases = [f"case{n}" for n in range(1, CASES + 1)]
    return checklist + cases + [f"R{n}" for n in range(1, RULES + 1)]


def find_tests(repository: Path = REPOSITORY) -> list[NamedTest]:
    """Tests named after an item, sorted by file and name. Reads the sources, imports nothing."""
    found = [
        NamedTest(item, path.relative_to(repository).as_posix(), name)
        for path in (repository / "tests").rglob("test_*.py")
        for name in _test_names(ast.parse(path.read_text(encoding="utf-8")), "")
        if (item := _item_of(name))
    ]
    return sorted(found, key=lambda test: (test.path, test.name))


def _item_of(name: str) -> str:
    """`I6` of test_I6_x, `case3` of test_case3_x and test_case03_x, "" of any other name."""
    match = _NAME.match(name.rpartition("::")[2])
    return f"{match[1]}{int(match[2])}" if match else ""


def _test_names(parent: ast.Module | ast.ClassDef, prefix: str) -> Iterator[str]:
    for node in parent.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith(
            "test_"
        ):
            yield prefix + node.name
        elif isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
            yield from _test_names(node, f"{prefix}{node.name}::")


def read_titles(repository: Path = REPOSITORY) -> dict[str, str]:
    """What each item asks for, in our own words."""
    tables = tomllib.loads((repository / "tests/conformance_items.toml").read_text("utf-8"))
    return {item: title for table in tables.values() for item, title in table.items()}


def read_reasons(repository: Path = REPOSITORY) -> dict[str, str]:
    """Why an item is not met, or what its tests do not cover."""
    tables = tomllib.loads((repository / "tests/conformance_exceptions.toml").read_text("utf-8"))
    return {item: str(reason) for item, reason in tables["not-met"].items()}


def problems(
    tests: Sequence[NamedTest], titles: Mapping[str, str], reasons: Mapping[str, str]
) -> list[str]:
    """One sentence for everything that does not add up."""
    items = all_items()
    known = set(items)
    tested = {test.item for test in tests}
    untested = [item for item in items if item not in tested and item not in reasons]
    return [
        *(f"{item} has no title" for item in items if item not in titles),
        *(f"{item} has neither a test nor a reason" for item in untested),
        *(f"{t.node} is named after an unknown item" for t in tests if t.item not in known),
        *(
            f"a title or reason is given for {item}, which does not exist"
            for item in sorted({*titles, *reasons} - known)
        ),
    ]


def render(
    tests: Sequence[NamedTest], titles: Mapping[str, str], reasons: Mapping[str, str]
) -> str:
    """The whole page."""
    by_item: dict[str, list[NamedTest]] = defaultdict(list)
    for test in tests:
        by_item[test.item].append(test)
    lines = [
        "# Conformance",
        "",
        "Written by `python -m tests.conformance` from the names of the tests; do not edit.",
        "An item without a test says why.",
    ]
    for heading, items in _chapters():
        met = sum(1 for item in items if item in by_item)
        lines += ["", f"## {heading} ({met} of {len(items)} tested)", ""]
        lines += ["| item | asks for | shown by |", "|---|---|---|"]
        for item in items:
            shown = [f"[{test.name}](../{test.path})" for test in by_item[item]]
            if item in reasons:
                shown.append(
                    f"*Limits:* {reasons[item]}" if shown else f"**Not met:** {reasons[item]}"
                )
            label = item.removeprefix("case")
            lines.append(f"| {label} | {titles.get(item, '')} | {'<br>'.join(shown)} |")
    return "\n".join(lines) + "\n"


def _chapters() -> Iterator[tuple[str, list[str]]]:
    names = {
        "W": "Wire", "I": "Internal server", "M": "Module handler", "C": "Commands",
        "E": "External client", "A": "Error aggregation", "F": "Configuration",
        "B": "Built-in modules", "O": "Bus and operations",
    }  # fmt: skip
    for group, last in GROUPS.items():
        yield f"{group}: {names[group]}", [f"{group}{n}" for n in range(1, last + 1)]
    yield "Cases", [f"case{n}" for n in range(1, CASES + 1)]
    yield "R: Contract", [f"R{n}" for n in range(1, RULES + 1)]


def main(argv: Sequence[str] | None = None) -> int:
    """Write or check the page."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 if not current")
    arguments = parser.parse_args(argv)
    tests, titles, reasons = find_tests(), read_titles(), read_reasons()
    found = problems(tests, titles, reasons)
    page = render(tests, titles, reasons)
    if arguments.check:
        if not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != page:
            found.append("docs/conformance.md is stale: run python -m tests.conformance")
    else:
        PAGE.write_text(page, encoding="utf-8")
    for problem in found:
        sys.stderr.write(problem + "\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
