from __future__ import annotations

import pytest

from fleet_lab.errors import LabError
from fleet_lab.sinks.api import SinkUrl
from fleet_lab.sinks.console import ConsoleSink


def test_an_ipv6_address_stands_in_brackets_in_a_url() -> None:
    assert SinkUrl("", host="::1", port=5).netloc == "[::1]:5"
    assert SinkUrl("", host="h", port=5).netloc == SinkUrl("", host="h", port=5).address == "h:5"


def test_a_sink_without_a_stream_takes_no_link() -> None:
    sink = ConsoleSink(SinkUrl("console:"))
    assert not sink.is_stream
    with pytest.raises(LabError, match=r"^sink console:: link conditions need"):
        sink.set_link(lambda make: make)
