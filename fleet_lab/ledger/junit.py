"""Results for machines: JUnit XML for a CI server, plain JSON for a script."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET

from fleet_lab.errors import EXIT_FAILED, EXIT_OK
from fleet_lab.ledger.verdict import Verdict
from fleet_lab.report.model import CheckResult

_NOT_IN_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold; a device's name may have them."""


def exit_code_of(results: Sequence[CheckResult]) -> int:
    """0 when every check holds, 1 when one does not."""
    return EXIT_OK if all(result.is_passed for result in results) else EXIT_FAILED


def junit_xml(title: str, results: Sequence[CheckResult], duration_s: float) -> str:
    """One test suite with a test case per check; a check that does not hold is a failure."""
    failures = sum(not result.is_passed for result in results)
    totals = {"tests": str(len(results)), "failures": str(failures), "errors": "0"}
    time = {"time": f"{duration_s:.3f}"}
    root = ET.Element("testsuites", {"name": _clean(title), **totals, **time})
    suite = ET.SubElement(root, "testsuite", {"name": _clean(title), **totals, **time})
    for result in results:
        names = {"classname": _clean(title), "name": _clean(result.text), "time": "0.000"}
        case = ET.SubElement(suite, "testcase", names)
        if not result.is_passed:
            failure = ET.SubElement(case, "failure", {"message": _clean(result.measured)})
            failure.text = _clean(f"{result.text}\n{result.measured}\n{result.explanation}".strip())
        out = ET.SubElement(case, "system-out")
        out.text = _clean(result.measured)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def write_junit(path: Path, title: str, results: Sequence[CheckResult], duration_s: float) -> None:
    """Write `junit_xml` to a file.

    Raises:
        OSError: it cannot be written.
    """
    path.write_text(junit_xml(title, results, duration_s), encoding="utf-8")


def result_object(results: Sequence[CheckResult], verdict: Verdict) -> dict[str, Any]:
    """What `--json` prints: verdict, latencies and checks, nothing but plain values."""
    return {
        "is_passed": all(result.is_passed for result in results),
        "is_clean": verdict.is_clean,
        "counts": dict(verdict.counts),
        "extras": dict(verdict.extras),
        "closed": dict(verdict.closed),
        "refused": {str(response): count for response, count in verdict.refused.items()},
        "offenders": [asdict(each) for each in verdict.offenders],
        "latencies": [
            {key: value for key, value in asdict(each).items() if key != "buckets"}
            for each in verdict.distributions()
        ],
        "hops": [asdict(each) for each in verdict.hops],
        "checks": [asdict(each) for each in results],
        "notes": list(verdict.notes),
    }


def _clean(text: str) -> str:
    return _NOT_IN_XML.sub("\ufffd", text)
