from __future__ import annotations

from module_gateway.external_client.rules import Rules
from module_gateway.protocol.errors import ModuleError
from module_gateway.protocol.identity import Identity
from tests.unit.external_client.world import MODULE, TraceModule


class Broken(TraceModule):
    def is_device_type_supported(self, device_type: int) -> bool:
        raise ModuleError("broken")


def test_support_is_the_modules_own_word() -> None:
    rules = Rules("acme", "van", {MODULE: TraceModule(), 5: Broken()})
    assert rules.supports(Identity(MODULE, 0, "a"))
    assert not rules.supports(Identity(MODULE, 9, "a"))
    assert not rules.supports(Identity(6, 0, "a"))
    assert not rules.supports(Identity(5, 0, "a"))
