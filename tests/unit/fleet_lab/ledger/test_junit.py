"""Results for machines."""

from __future__ import annotations

import json
from xml.etree import ElementTree as ET

from fleet_lab.ledger.junit import exit_code_of, junit_xml, result_object, write_junit
from fleet_lab.ledger.ledger import Enlisted, Ledger
from fleet_lab.report.model import CheckResult
from module_gateway.protocol.identity import Identity

GOOD = CheckResult("p99 < 20ms", is_passed=True, measured="p99 = 1 ms")
BAD = CheckResult("lost == 0", is_passed=False, measured="lost = 2", explanation="a <b> & \x00")


def test_the_exit_code_follows_the_checks():
    assert exit_code_of([]) == 0
    assert exit_code_of([GOOD]) == 0
    assert exit_code_of([GOOD, BAD]) == 1


def test_each_check_is_a_test_case_and_a_failed_one_a_failure(tmp_path):
    path = tmp_path / "junit.xml"
    write_junit(path, "a run", [GOOD, BAD], 2.5)
    root = ET.fromstring(path.read_text())
    assert root.attrib == {
        "name": "a run", "tests": "2", "failures": "1", "errors": "0", "time": "2.500",
    }  # fmt: skip
    cases = root.findall("testsuite/testcase")
    assert [case.get("name") for case in cases] == ["p99 < 20ms", "lost == 0"]
    assert [case.find("failure") is None for case in cases] == [True, False]
    failure = cases[1].find("failure")
    assert failure is not None
    assert failure.get("message") == "lost = 2"
    assert failure.text == "lost == 0\nlost = 2\na <b> & \ufffd"
    assert [case.findtext("system-out") for case in cases] == ["p99 = 1 ms", "lost = 2"]


def test_no_checks_are_an_empty_suite():
    assert ET.fromstring(junit_xml("t", [], 0.0)).get("tests") == "0"


def test_the_object_is_plain_json():
    ledger = Ledger(0.0, is_tapped=True)
    fleet = ledger.enlist("f", [Enlisted("d", Identity(3, 0, "d"))])
    fleet.sent(0, 1, 0.0, 0.0)
    fleet.answered(0, 1, 0.5, True)
    fleet.refused(0, 3)
    found = json.loads(json.dumps(result_object([GOOD, BAD], ledger.verdict())))
    assert (found["is_passed"], found["is_clean"]) == (False, False)
    assert found["counts"]["lost"] == 1
    assert {each["word"] for each in found["offenders"]} == {"lost", "late"}
    assert found["refused"] == {"3": 1}
    assert found["latencies"][0]["name"] == "reply"
    assert [check["text"] for check in found["checks"]] == ["p99 < 20ms", "lost == 0"]
    assert [hop["lost"] for hop in found["hops"]] == [0, 1, 0]
