"""What holds for all tests."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "module_gateway",
    # A build must not fail by luck: whoever looks for new counterexamples says so.
    derandomize="MODULE_GATEWAY_TEST_EXPLORE" not in os.environ,
    # Both judge by the clock, and a busy machine stands still for longer than they allow.
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("module_gateway")
