from __future__ import annotations

from fleet_lab.errors import EXIT_CONFIG, EXIT_FAILED, LabError, missing_extra


def test_an_error_is_a_failure_unless_it_says_otherwise() -> None:
    assert LabError("broken").exit_code == EXIT_FAILED
    error = LabError("fleet.toml: no fleets", EXIT_CONFIG)
    assert (str(error), error.exit_code) == ("fleet.toml: no fleets", EXIT_CONFIG)


def test_a_missing_library_is_one_line_that_names_the_extra() -> None:
    text = str(missing_extra("jinja2", "lab", "the HTML report"))
    assert "module-gateway[lab]" in text
    assert "\n" not in text
