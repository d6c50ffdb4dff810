"""An experiment as one TOML or YAML file: fleets, links, load, scenario, checks, taps.

    title = "A tunnel"
    seed = 7                                  # without it: a new one per run, told in the report
    duration = "60s"                          # without it: until the scenario is over
    checks = ["lost == 0", "p99 < 250ms", "within 15s after outage"]

    [links]
    tunnel = "LTE delay=1s"                   # own names for conditions

    [[fleet]]
    name = "cars"
    device = "mission"                        # built-in, template.json, file.py:Class, module:Class
    size = 20
    sink = "fleet-protocol://127.0.0.1:8888"
    link = "LTE"
    load = "1/s each"

    [[step]]
    at = "10s"                                # or when = "answered > 100"
    do = "link"                               # scale send link cut heal, or a verb for a process
    fleet = "cars"
    link = "OFFLINE"
    for = "5s"

    [[process]]
    name = "gateway"
    state-dir = "~/.local/state/module-gateway"     # names gateway.external_client …

    [[tap]]
    mqtt = "127.0.0.1:18883"

Everything that is wrong is told at once: file, key, value, what was expected, nearest spelling.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import SystemRandom
from typing import Any, Final

from fleet_lab.errors import EXIT_CONFIG, LabError, missing_extra
from fleet_lab.faults import Process
from fleet_lab.file_fleets import read_fleets, read_links
from fleet_lab.file_processes import read_processes
from fleet_lab.file_steps import read_steps
from fleet_lab.fleets.spec import FleetSpec
from fleet_lab.ledger.checks import Check
from fleet_lab.ledger.expressions import PerSecond, Within
from fleet_lab.links.conditions import CLEAR, Conditions, parse_conditions
from fleet_lab.steps import Scenario, Step
from fleet_lab.tables import Table, shown

MAX_SEED: Final = 2**63 - 1
MAX_WORKERS: Final = 1024
_PORT_MAX: Final = 65535


@dataclass(frozen=True, slots=True)
class Tap:
    """Where to listen upstream; "+" is everybody."""

    host: str
    port: int
    company: str = "+"
    vehicle: str = "+"


@dataclass(frozen=True, slots=True)
class Experiment:
    """What a file holds, read and checked.

    Attributes:
        duration_s: None: until the scenario is over, or until somebody stops it.
        processes: by name; those that are not in the file are the caller's.
        workers: None: as many as the fleets need.
        declared: the file as it was written, for the report.
    """

    path: Path
    title: str
    seed: int
    duration_s: float | None
    fleets: tuple[FleetSpec, ...]
    scenario: Scenario = field(default_factory=Scenario)
    processes: Mapping[str, Process] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    taps: tuple[Tap, ...] = ()
    workers: int | None = None
    on: str = "local"
    declared: Mapping[str, Any] = field(default_factory=dict)

    @property
    def links(self) -> dict[str, Conditions]:
        """The declared network of each fleet."""
        return {
            fleet.name: parse_conditions(fleet.link) if fleet.link else CLEAR
            for fleet in self.fleets
        }


def load_experiment(
    path: Path | str, *, seed: int | None = None, known_processes: Collection[str] = ()
) -> Experiment:
    """Read the file.

    Args:
        path: ends with .toml, .yaml or .yml.
        seed: instead of the file's.
        known_processes: names that the caller can do something to besides the file's.

    Raises:
        LabError: everything that is wrong with it, one line each; exit code 78.
    """
    path = Path(path)
    values = read_values(path)
    problems: list[str] = []
    experiment = _experiment(Table(values, "", problems), path, seed, known_processes, values)
    if problems:
        raise LabError(_problem_text(path, problems), EXIT_CONFIG)
    return experiment


def read_values(path: Path) -> Mapping[str, Any]:
    """The plain values of a TOML or YAML file.

    Raises:
        LabError: it cannot be read; exit code 78.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise LabError(f"{path}: {error.strerror or error}", EXIT_CONFIG) from None
    except UnicodeDecodeError:
        raise LabError(f"{path}: no text in UTF-8", EXIT_CONFIG) from None
    try:
        match path.suffix:
            case ".toml":
                return tomllib.loads(text)
            case ".yaml" | ".yml":
                values = _yaml_values(path, text)
            case _:
                raise LabError(f"{path}: a fleet file ends with .toml, .yaml or .yml", EXIT_CONFIG)
    except tomllib.TOMLDecodeError as error:
        raise LabError(f"{path}: no TOML: {error}", EXIT_CONFIG) from None
    if not isinstance(values, Mapping):
        raise LabError(f"{path}: holds {shown(values)}, no keys and values", EXIT_CONFIG)
    return {str(key): value for key, value in values.items()}


def _yaml_values(path: Path, text: str) -> Any:  # noqa: ANN401  # whatever the file holds
    try:
        import yaml  # noqa: PLC0415  # of an extra; TOML needs nothing
    except ImportError:
        raise missing_extra("PyYAML", "lab", f"{path} as YAML") from None
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise LabError(f"{path}: no YAML: {' '.join(str(error).split())}", EXIT_CONFIG) from None


def _experiment(
    table: Table,
    path: Path,
    seed: int | None,
    known_processes: Collection[str],
    values: Mapping[str, Any],
) -> Experiment:
    in_file = table.whole("seed", 0, MAX_SEED)
    chosen = next((given for given in (seed, in_file) if given is not None), None)
    chosen = SystemRandom().randrange(2**32) if chosen is None else chosen
    links = read_links(table)
    processes = read_processes(table, path.parent)
    fleets = read_fleets(table, path.parent, chosen, links)
    before = len(table.problems)
    steps = read_steps(table, fleets, links, {**dict.fromkeys(known_processes), **processes})
    experiment = Experiment(
        path=path,
        title=table.text("title") or path.stem,
        seed=chosen,
        duration_s=table.duration_s("duration"),
        fleets=fleets,
        scenario=Scenario(steps),
        processes=processes,
        checks=_checks(table, None if len(table.problems) > before else steps),
        taps=_taps(table),
        workers=table.whole("workers", 0, MAX_WORKERS),
        on=table.text("on") or "local",
        declared=values,
    )
    table.close()
    return experiment


def _checks(table: Table, steps: Sequence[Step] | None) -> tuple[Check, ...]:
    """`steps` None: some are wrong, so their names are not known."""
    texts = table.any("checks")
    if texts is None:
        return ()
    if not isinstance(texts, list):
        table.problem("checks", f"expected a list of texts, got {shown(texts)}")
        return ()
    checks = []
    for index, text in enumerate(texts):
        place = f"checks[{index}]"
        if not isinstance(text, str):
            table.problem(place, f"expected a text, got {shown(text)}")
            continue
        try:
            check = Check(text)
        except LabError as error:
            table.problem(place, str(error))
            continue
        checks.append(check)
        titles = {step.title for step in steps or ()}
        for name in sorted(_steps_of(check) - titles) if steps is not None else ():
            known = ", ".join(sorted(titles)) or "none"
            table.problem(place, f"no step is named {name!r}; there are: {known}")
    return tuple(checks)


def _steps_of(check: Check) -> set[str]:
    match check.expression:
        case Within(step=step):
            return {step}
        case PerSecond(during=during):
            return set(during)
        case _:
            return set()


def _taps(table: Table) -> tuple[Tap, ...]:
    taps = []
    for row in table.rows("tap"):
        place = row.text("mqtt", is_required=True)
        company, vehicle = row.text("company") or "+", row.text("vehicle") or "+"
        if place is not None:
            host, colon, port = place.rpartition(":")
            if colon and host and port.isascii() and port.isdigit() and int(port) <= _PORT_MAX:
                taps.append(Tap(host, int(port), company, vehicle))
            else:
                row.problem("mqtt", f"expected host:port, got {shown(place)}")
        row.close()
    return tuple(taps)


def _problem_text(path: Path, problems: list[str]) -> str:
    if len(problems) == 1:
        return f"{path}: {problems[0]}"
    return "\n".join([f"{path}: {len(problems)} errors", *(f"  {line}" for line in problems)])
