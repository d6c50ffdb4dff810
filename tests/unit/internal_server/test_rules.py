"""What holds for every connection, unless a configuration says otherwise."""

from __future__ import annotations

from module_gateway.internal_server.rules import Fault, SessionRules


def test_the_rules_without_a_configuration_are_the_protocols():
    rules = SessionRules(admit=lambda _device: None)
    assert (rules.connect_deadline_s, rules.frame_deadline_s) == (5.0, 10.0)
    assert (rules.reply_window_s, rules.inactivity_s, rules.write_deadline_s) == (0.25, 30.0, 5.0)
    assert (rules.max_frame_bytes, rules.fault) == (1024 * 1024, Fault.NONE)
