"""The digest that two processes compare with every heartbeat."""

from __future__ import annotations

from module_gateway.protocol.live_digest import RunningDigest, mix64


def test_mix64_is_splitmix64() -> None:
    # First outputs of the published generator with seed 0: it adds the constant, then mixes.
    golden = 0x9E3779B97F4A7C15
    assert mix64(0) == 0xE220A8397B1DCDAF
    assert mix64(golden) == 0x6E789E6AA1B965F4


def test_digest_does_not_depend_on_the_order() -> None:
    forth, back = RunningDigest(), RunningDigest()
    for instance in range(100):
        forth.add(instance)
        back.add(99 - instance)
    assert (forth.count, forth.value) == (back.count, back.value)


def test_neighbouring_instances_do_not_cancel_out() -> None:
    digest = RunningDigest()
    for instance in (0, 1, 2, 3):
        digest.add(instance)
    assert digest.value != 0


def test_what_is_removed_leaves_no_trace() -> None:
    digest = RunningDigest()
    digest.add(7)
    digest.add(2**64 - 1)
    digest.remove(2**64 - 1)
    digest.remove(7)
    assert (digest.count, digest.value) == (0, 0)
