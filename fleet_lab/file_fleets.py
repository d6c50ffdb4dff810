"""The fleets and links of a fleet file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fleet_lab.devices.catalog import device_class
from fleet_lab.errors import LabError, nearest
from fleet_lab.fleets.spec import DEFAULT_SINK, MAX_SIZE, FleetSpec, members_of
from fleet_lab.links.conditions import LINKS, Conditions, conditions_text, parse_conditions
from fleet_lab.load_plan import parse_load
from fleet_lab.sinks.urls import sink_factory
from fleet_lab.tables import Table, shown

Links = Mapping[str, Conditions]
_FILE_ENDS: Final = (".json", ".py")


def read_links(table: Table) -> dict[str, Conditions]:
    """Own names for conditions: the table `links`."""
    found: dict[str, Conditions] = {}
    for name, value in table.table("links").items():
        try:
            found[name] = parse_conditions(_text_or_table(value))
        except LabError as error:
            table.problem(f"links.{name}", str(error))
    return found


def link_of(value: object, links: Links) -> Conditions:
    """Conditions of a preset, a name of the file, a text or a table.

    Raises:
        LabError: none of these.
    """
    if isinstance(value, str) and value in links:
        return links[value]
    if isinstance(value, str) and value.isidentifier() and value not in LINKS:
        near = nearest(value, [*links, *LINKS])
        if near and links:
            raise LabError(f"link {value!r} is neither in [links] nor a preset{near}")
    return parse_conditions(_text_or_table(value))


def read_fleets(table: Table, folder: Path, seed: int, links: Links) -> tuple[FleetSpec, ...]:
    """All of `fleet`; names are unique and there is at least one."""
    fleets: list[FleetSpec] = []
    rows = table.rows("fleet")
    if not rows and "fleet" not in table:
        table.problem("fleet", "is missing; a file needs at least one [[fleet]]")
    for row in rows:
        fleet = _fleet(row, folder, seed, links)
        if fleet is None:
            continue
        if fleet.name in (known.name for known in fleets):
            row.problem("name", f"there is another fleet {fleet.name!r}")
        fleets.append(fleet)
    return tuple(fleets)


def _fleet(row: Table, folder: Path, seed: int, links: Links) -> FleetSpec | None:
    before = len(row.problems)
    name = row.text("name", is_required=True)
    device = row.made("device", lambda value: _device(value, folder))
    if "device" not in row:
        row.text("device", is_required=True)
    members = row.any("devices")
    size = row.whole("size", 0, MAX_SIZE, is_required=members is None)
    sink = row.made("sink", _sink)
    load = row.made("load", lambda value: parse_load(value).plan)
    link = row.made("link", lambda value: conditions_text(link_of(value, links)))
    own_seed = row.whole("seed", 0, 2**63 - 1)
    options = row.table("options")
    is_patient = row.flag("patient")
    listed = row.made("devices", lambda value: _members(value, name or ""))
    row.close()
    if len(row.problems) > before or name is None or device is None:
        return None
    try:
        return FleetSpec(
            name=name,
            device=device,
            size=len(listed) if listed else size or 0,
            sink=sink or DEFAULT_SINK,
            load=load,
            link=link,
            seed=seed if own_seed is None else own_seed,
            options=options,
            is_patient=is_patient,
            members=listed or (),
        )
    except LabError as error:
        row.problem(None, str(error))
        return None


def _device(value: object, folder: Path) -> str | Mapping[str, Any]:
    """A built-in's name, an import path or a template; files are found from the fleet file."""
    if not isinstance(value, str | Mapping):
        raise LabError(f"expected a device's name, a path or a template, got {shown(value)}")
    if isinstance(value, str):
        file, colon, rest = value.partition(":")
        if file.endswith(_FILE_ENDS) and not Path(file).is_absolute():
            value = f"{(folder / file).resolve()}{colon}{rest}"
    device_class(value)
    return value


def _sink(value: object) -> str:
    if not isinstance(value, str):
        raise LabError(
            f"expected a URL such as fleet-protocol://127.0.0.1:8888, got {shown(value)}"
        )
    sink_factory(value)
    return value


def _members(value: object, fleet: str) -> Any:  # noqa: ANN401  # as members_of says
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        raise LabError(f"expected a list of tables, got {shown(value)}")
    return members_of(value, fleet)


def _text_or_table(value: object) -> str | Mapping[str, Any]:
    if isinstance(value, str | Mapping):
        return value
    raise LabError(f"expected a preset, a text or a table, got {shown(value)}")
