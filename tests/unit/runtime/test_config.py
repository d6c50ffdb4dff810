"""Files of both forms, and what is said about wrong ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from module_gateway.modules.catalog import load_modules
from module_gateway.protocol.errors import ConfigError
from module_gateway.runtime.config import (
    HIDDEN,
    MAX_FILE_BYTES,
    changed_settings,
    default_settings,
    effective_configuration,
    inspect,
    load,
)
from module_gateway.runtime.config_errors import ConfigFileError
from module_gateway.runtime.settings import Settings
from tests.unit.runtime.gateway_files import (
    DOCKER,
    MINIMAL,
    REFERENCE_DEPLOYMENT,
    changed,
    write,
)

OURS: dict[str, Any] = {
    "config-version": 1,
    "external-connection": {
        "endpoints": [
            {"protocol-type": "mqtt", "server-ip": "127.0.0.1", "port": 1883, "modules": [1]}
        ]
    },
}
ENDPOINT = "external-connection.endpoints"


def problems_of(folder: Path, fields: object) -> list[str]:
    return [str(problem) for problem in inspect(write(folder, fields)).problems]


def test_F1_the_minimal_file_of_the_existing_gateway_is_accepted_unchanged(tmp_path: Path) -> None:
    settings = load(write(tmp_path, MINIMAL))

    endpoint = settings.external_connection.endpoints[0]
    assert (
        settings.internal_server_settings.port,
        settings.internal_server_settings.ip_address,
        sorted(settings.module_paths),
        settings.external_connection.company,
        settings.external_connection.vehicle_name,
        (endpoint.protocol_type, endpoint.server_ip, endpoint.port, endpoint.modules),
        endpoint.mqtt_settings.ssl,
    ) == (
        1636,
        "0.0.0.0",
        ["1", "2"],
        "bringauto",
        "virtual_vehicle",
        ("mqtt", "localhost", 1883, (1, 2)),
        False,
    )


def test_F1_the_docker_file_of_the_existing_gateway_is_accepted_unchanged(tmp_path: Path) -> None:
    fields = changed(DOCKER, "logging.file.path", str(tmp_path))
    settings = load(write(tmp_path, fields))

    assert [endpoint.modules for endpoint in settings.external_connection.endpoints] == [
        (1,),
        (2, 1000),
    ]
    assert (settings.logging.console.level, settings.logging.file.level) == ("DEBUG", "DEBUG")
    assert [notice.partition(": ")[2].split()[0] for notice in settings.notices] == [
        "module-paths.1",
        "module-paths.2",
        "module-paths.3",
        "module-paths.1000",
        "internal-server-settings.ip-address",
        "module-binary-path",
        "external-connection.endpoints[1].modules:",
    ]


def test_F1_the_reference_deployment_with_tls_is_accepted_unchanged(tmp_path: Path) -> None:
    (tmp_path / "certs").mkdir()
    for name in ("ca.pem", "client.pem", "client-key.pem"):
        (tmp_path / "certs" / name).touch()
    tls = load(write(tmp_path, REFERENCE_DEPLOYMENT)).external_connection.endpoints[0].mqtt_settings

    assert (tls.ssl, tls.ca_file) == (True, str(tmp_path / "certs" / "ca.pem"))


def test_F1_native_libraries_become_the_built_in_modules_of_their_names(tmp_path: Path) -> None:
    fields = changed(DOCKER, "logging.file.path", str(tmp_path))
    settings = load(write(tmp_path, fields))
    modules = load_modules(settings.module_paths, settings.module_settings)

    assert {number: module.name for number, module in modules.items()} == {
        1: "mission",
        2: "io",
        3: "transparent",
        1000: "example",
    }


def test_case43_certificate_paths_start_at_the_configuration_file(tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    tls = load(write(folder, MINIMAL)).external_connection.endpoints[0].mqtt_settings

    assert (tls.ca_file, tls.client_cert, tls.client_key) == (
        str(folder / "ca.pem"),
        str(folder / "client.pem"),
        str(folder / "key.pem"),
    )


def test_absolute_certificate_paths_stay(tmp_path: Path) -> None:
    fields = changed(MINIMAL, f"{ENDPOINT}.0.mqtt-settings.ca-file", "/etc/ssl/ca.pem")
    tls = load(write(tmp_path, fields)).external_connection.endpoints[0].mqtt_settings

    assert tls.ca_file == "/etc/ssl/ca.pem"


def test_the_existing_form_listens_everywhere_and_says_so_once(tmp_path: Path) -> None:
    settings = load(write(tmp_path, MINIMAL))
    said = [notice for notice in settings.notices if "0.0.0.0" in notice]

    assert len(said) == 1
    assert "plaintext" in said[0]


def test_our_form_and_no_file_listen_on_loopback_only(tmp_path: Path) -> None:
    for settings in (load(write(tmp_path, OURS)), default_settings()):
        assert settings.internal_server_settings.ip_address is None
        assert settings.notices == ()


def test_a_module_in_two_endpoints_stays_in_the_first_and_is_said(tmp_path: Path) -> None:
    second = {**MINIMAL["external-connection"]["endpoints"][0], "modules": [2]}
    fields = changed(MINIMAL, ENDPOINT, [MINIMAL["external-connection"]["endpoints"][0], second])
    settings = load(write(tmp_path, fields))

    assert [item.modules for item in settings.external_connection.endpoints] == [(1, 2), ()]
    assert [notice for notice in settings.notices if "endpoints[1].modules: module 2" in notice]


def test_our_form_refuses_a_module_in_two_endpoints(tmp_path: Path) -> None:
    one = OURS["external-connection"]["endpoints"][0]

    assert problems_of(tmp_path, changed(OURS, ENDPOINT, [one, one])) == [
        (
            "external-connection.endpoints[1].modules is 1; expected each module once in one "
            "endpoint (endpoints[0] has it already)"
        )
    ]


def test_the_existing_form_may_have_no_endpoints_and_is_told_what_that_means(
    tmp_path: Path,
) -> None:
    settings = load(write(tmp_path, changed(MINIMAL, ENDPOINT, [])))

    assert [notice for notice in settings.notices if "MODULE_NOT_SUPPORTED" in notice]


def test_our_form_refuses_empty_endpoints_of_a_gateway(tmp_path: Path) -> None:
    fields = changed(OURS, ENDPOINT, [])
    [problem] = problems_of(tmp_path, fields)

    assert problem.startswith("external-connection.endpoints is []; expected at least one endpoint")
    settings = load(write(tmp_path, fields), needs_endpoints=False)
    assert (settings.external_connection.endpoints, settings.notices) == ((), ())


def test_a_module_twice_in_one_endpoint_is_refused_in_our_form(tmp_path: Path) -> None:
    [problem] = problems_of(tmp_path, changed(OURS, f"{ENDPOINT}.0.modules", [1, 1]))

    assert problem == (
        "external-connection.endpoints[0].modules is 1; expected each module once in one endpoint "
        "(endpoints[0] has it already)"
    )


def test_unknown_keys_of_the_existing_form_are_ignored_with_a_notice(tmp_path: Path) -> None:
    fields = {**changed(MINIMAL, f"{ENDPOINT}.0.quic-settings", {"alpn": "x"}), "comment": "hello"}
    settings = load(write(tmp_path, fields))
    said = [notice for notice in settings.notices if "it is ignored" in notice]

    assert [notice.partition(": ")[2].split()[0] for notice in said] == [
        "external-connection.endpoints[0].quic-settings",
        "comment",
    ]


@pytest.mark.parametrize("protocol", ["QUIC", "quic", "DUMMY"])
def test_case42_protocols_of_the_existing_gateway_are_refused_as_not_supported(
    tmp_path: Path, protocol: str
) -> None:
    [problem] = problems_of(tmp_path, changed(MINIMAL, f"{ENDPOINT}.0.protocol-type", protocol))

    assert problem == (
        f"external-connection.endpoints[0].protocol-type is {protocol!r}; expected 'mqtt' "
        f"({protocol} of the existing gateway is not supported)"
    )


def test_case42_an_unknown_protocol_is_refused_with_the_nearest_one(tmp_path: Path) -> None:
    [problem] = problems_of(tmp_path, changed(MINIMAL, f"{ENDPOINT}.0.protocol-type", "mqqt"))

    assert problem.endswith("expected 'mqtt' (did you mean 'mqtt'?)")


def test_case16_a_company_with_a_space_is_refused_with_a_message(tmp_path: Path) -> None:
    fields = changed(MINIMAL, "external-connection.company", "Company Name")
    with pytest.raises(ConfigFileError) as raised:
        load(write(tmp_path, fields))

    assert str(raised.value) == (
        f"{tmp_path / 'config.json'}: 1 error in the configuration\n"
        "  external-connection.company is 'Company Name'; expected lower-case letters a-z, digits "
        "and '_' only, at least one"
    )


def test_case19_file_logging_without_its_folder_is_refused(tmp_path: Path) -> None:
    missing = str(tmp_path / "nowhere")
    fields = changed(MINIMAL, "logging.file", {"level": "INFO", "use": True, "path": missing})

    assert problems_of(tmp_path, fields) == [
        (
            f"logging.file.path is {missing!r}; expected a folder that exists, because "
            f"logging.file.use is true (mkdir -p {missing})"
        )
    ]


def test_case19_an_unknown_level_means_debug_and_a_warning(tmp_path: Path) -> None:
    settings = load(write(tmp_path, changed(MINIMAL, "logging.console.level", "verbose")))

    assert settings.logging.console.level == "DEBUG"
    assert [notice for notice in settings.notices if "'verbose', which is no level" in notice]


F2_CASES: dict[str, tuple[str, object, str]] = {
    "level": ("logging.console.level", 3, "logging.console.level is 3; expected a text"),
    "use": ("logging.console.use", "yes", "logging.console.use is 'yes'; expected true or false"),
    "file": ("logging.file.use", 1, "logging.file.use is 1; expected true or false"),
    "port_high": (
        "internal-server-settings.port",
        70000,
        "internal-server-settings.port is 70000; expected a whole number from 0 to 65535",
    ),
    "port_negative": (
        "internal-server-settings.port",
        -1,
        "internal-server-settings.port is -1; expected a whole number from 0 to 65535",
    ),
    "port_text": (
        "internal-server-settings.port",
        "1636",
        (
            "internal-server-settings.port is '1636'; expected a whole number from 0 to 65535 "
            "(write it without quotes)"
        ),
    ),
    "no_modules": ("module-paths", {}, "module-paths is {}; expected at least one module number"),
    "module_key": ("module-paths", {"one": "io"}, "module-paths.one is 'one'; expected a module"),
    "module_name": (
        "module-paths",
        {"1": "mision", "2": "io"},
        "module-paths.1 is 'mision'; expected a built-in module",
    ),
    "module_library": (
        "module-paths",
        {"1": "mission", "2": "libdoor.so"},
        "module-paths.2 is 'libdoor.so'; expected a library with the name of a built-in",
    ),
    "vehicle": (
        "external-connection.vehicle-name",
        "Car",
        "external-connection.vehicle-name is 'Car'; expected lower-case letters",
    ),
    "no_company": (
        "external-connection.company",
        "",
        "external-connection.company is ''; expected lower-case letters",
    ),
    "endpoints": (ENDPOINT, {}, "external-connection.endpoints is {}; expected a list"),
    "endpoint_port": (
        f"{ENDPOINT}.0.port",
        0,
        "external-connection.endpoints[0].port is 0; expected a whole number from 1 to 65535",
    ),
    "endpoint_host": (
        f"{ENDPOINT}.0.server-ip",
        7,
        "external-connection.endpoints[0].server-ip is 7; expected a text",
    ),
    "endpoint_module": (
        f"{ENDPOINT}.0.modules",
        [1, 9],
        "external-connection.endpoints[0].modules is 9; expected a number of module-paths (1, 2)",
    ),
    "ssl": (
        f"{ENDPOINT}.0.mqtt-settings.ssl",
        "true",
        "external-connection.endpoints[0].mqtt-settings.ssl is 'true'; expected true or false",
    ),
    "settings_of_no_module": (
        "module-settings",
        {"11": {}},
        "module-settings.11 is '11'; expected a number of module-paths (1, 2)",
    ),
    "setting_of_module": (
        "module-settings",
        {"1": {"codek": "json"}},
        "module-settings.1.codek is 'codek'; expected one of the keys",
    ),
}


@pytest.mark.parametrize("name", F2_CASES)
def test_F2_each_validation_rule_refuses_with_the_name_of_the_key(
    tmp_path: Path, name: str
) -> None:
    path, value, expected = F2_CASES[name]
    problems = problems_of(tmp_path, changed(MINIMAL, path, value))

    assert [problem for problem in problems if problem.startswith(expected)] == problems[:1]


@pytest.mark.parametrize("key", ["ca-file", "client-cert", "client-key"])
@pytest.mark.parametrize("value", ["", "not-there.pem"])
def test_F2_tls_with_a_missing_file_is_refused(tmp_path: Path, key: str, value: str) -> None:
    tls = {"ssl": True, "ca-file": "a.pem", "client-cert": "b.pem", "client-key": "c.pem"}
    for name in ("a.pem", "b.pem", "c.pem"):
        (tmp_path / name).touch()
    fields = changed(MINIMAL, f"{ENDPOINT}.0.mqtt-settings", {**tls, key: value})
    [problem] = problems_of(tmp_path, fields)

    assert problem.startswith(f"external-connection.endpoints[0].mqtt-settings.{key} is ")
    assert "because mqtt-settings.ssl is true" in problem


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("server-ip", "a text"),
        ("port", "a whole number from 1 to 65535"),
        ("modules", "a value"),
    ],
)
def test_F2_a_missing_key_of_an_endpoint_is_named(tmp_path: Path, key: str, expected: str) -> None:
    endpoint = dict(OURS["external-connection"]["endpoints"][0])
    del endpoint[key]

    assert problems_of(tmp_path, changed(OURS, ENDPOINT, [endpoint])) == [
        f"external-connection.endpoints[0].{key} is missing; expected {expected}"
    ]


def test_F2_an_unknown_key_of_our_form_is_refused_with_the_nearest_spelling(
    tmp_path: Path,
) -> None:
    assert problems_of(tmp_path, {**OURS, "internal-server-setings": {"port": 1}}) == [
        (
            "internal-server-setings is {'port': 1}; expected a known key "
            "(did you mean 'internal-server-settings'?)"
        )
    ]


def test_F2_rules_between_settings_are_checked(tmp_path: Path) -> None:
    fields = {
        **OURS,
        "bus": {"heartbeat-ms": 500, "silence-ms": 600},
        "module-handler-settings": {
            "probe-window-ms": 250,
            "partitions": "0-64",
            "modules": [1, 77],
        },
    }

    assert [problem.split(" is ")[0] for problem in problems_of(tmp_path, fields)] == [
        "module-handler-settings.modules",
        "module-handler-settings.partitions",
        "module-handler-settings.probe-window-ms",
        "bus.silence-ms",
    ]


def test_all_errors_of_a_file_are_reported_at_once(tmp_path: Path) -> None:
    fields = changed(MINIMAL, "external-connection.company", "Big Co")
    fields = changed(fields, f"{ENDPOINT}.0.port", 0)
    fields = changed(fields, "module-paths.2", "misson")
    fields = changed(fields, "logging.file", {"use": True, "path": "/no/such/folder"})

    assert sorted(problem.split(" is ")[0] for problem in problems_of(tmp_path, fields)) == [
        "external-connection.company",
        "external-connection.endpoints[0].port",
        "logging.file.path",
        "module-paths.2",
    ]


def test_toml_and_json_mean_the_same(tmp_path: Path) -> None:
    toml = tmp_path / "config.toml"
    toml.write_text(
        "config-version = 1\n[[external-connection.endpoints]]\nprotocol-type = 'mqtt'\n"
        "server-ip = '127.0.0.1'\nport = 1883\nmodules = [1]\n",
        encoding="utf-8",
    )

    assert load(toml).model_dump() == load(write(tmp_path, OURS)).model_dump()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "the file is 'empty'; expected well-formed JSON"),
        (b"{\n  'a': 1}", "line 2 column 3 is \"'a': 1}\"; expected well-formed JSON: expecting"),
        (b'{"a": 1,}', "no comma before }"),
        (b'{\n"a": 1,\n', "line 3 column 1 is ''"),
        (b"[1]", "the file is [1]; expected a JSON object"),
        (b'{"a": "\xff"}', "byte 7 of the file is 255; expected UTF-8 text"),
        (b"[" * 100_000, "too deeply nested"),
        (b'{"logging": {}, "logging": {}}', "the second 'logging' is {}; expected each key once"),
        (b" " * (MAX_FILE_BYTES + 1), "expected at most"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(
    tmp_path: Path, content: bytes, expected: str
) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(ConfigFileError) as raised:
        load(path)

    assert expected in str(raised.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file or directory"):
        load(tmp_path / "nowhere.json")


def test_a_configuration_of_the_proof_of_concept_is_recognised(tmp_path: Path) -> None:
    [problem] = problems_of(tmp_path, {"carId": "1", "vehicleName": "a", "endpoints": []})

    assert "docs/migrate.md" in problem
    assert inspect(write(tmp_path, {"carId": "1", "company": "x"})).notices == ()


def test_keys_that_start_with_a_number_are_read_as_the_existing_gateway_does(
    tmp_path: Path,
) -> None:
    fields = changed(MINIMAL, "module-paths", {"1 mission": "mission", "002": "io"})
    settings = load(write(tmp_path, fields))

    assert settings.module_paths == {"1": "mission", "2": "io"}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
PLACES = [
    "config-version",
    "logging",
    "logging.console",
    "logging.console.level",
    "internal-server-settings",
    "internal-server-settings.port",
    "module-paths",
    "module-paths.1",
    "external-connection",
    ENDPOINT,
    f"{ENDPOINT}.0",
    f"{ENDPOINT}.0.modules",
    f"{ENDPOINT}.0.mqtt-settings",
    f"{ENDPOINT}.0.mqtt-settings.ca-file",
    "bus",
    "state-dir",
]


@given(place=st.sampled_from(PLACES), value=json_values)
def test_any_value_anywhere_is_used_or_refused_and_never_a_crash(
    tmp_path_factory: pytest.TempPathFactory, place: str, value: object
) -> None:
    found = inspect(write(tmp_path_factory.mktemp("any"), changed(MINIMAL, place, value)))

    assert (found.settings is None) == bool(found.problems)


def test_without_a_file_every_default_module_reports_to_the_demo_upstream() -> None:
    settings = default_settings()
    [endpoint] = settings.external_connection.endpoints

    assert (endpoint.server_ip, endpoint.port, endpoint.modules) == (
        "127.0.0.1",
        18883,
        (1, 2, 3, 1000, 1001),
    )


def test_F5_the_effective_configuration_has_every_value_and_no_secret() -> None:
    settings = Settings(
        module_settings={
            "1": {"api-token": "t0p", "nested": [{"Password": "s3cret"}], "codec": "json"},
            "2": {"pem": "-----BEGIN PRIVATE KEY-----\nMIIB"},
        }
    )
    shown = effective_configuration(settings)

    assert shown["internal-server-settings"]["reply-window-ms"] == 250
    assert shown["module-settings"] == {
        "1": {"api-token": HIDDEN, "nested": [{"Password": HIDDEN}], "codec": "json"},
        "2": {"pem": HIDDEN},
    }
    assert "s3cret" not in json.dumps(shown)


def test_changed_settings_are_those_that_are_not_as_without_a_file(tmp_path: Path) -> None:
    fields = {**OURS, "internal-server-settings": {"port": 1636}}

    assert list(changed_settings(load(write(tmp_path, fields)))) == [
        "internal-server-settings.port",
        "external-connection.endpoints",
    ]
    assert changed_settings(default_settings()) == {}


def test_settings_know_their_file(tmp_path: Path) -> None:
    path = write(tmp_path, OURS)

    assert (load(path).source, default_settings().source) == (str(path), "")
