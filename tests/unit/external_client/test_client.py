from __future__ import annotations

from tests.brokers import MosquittoBroker
from tests.scripted_peer import ScriptedPeer
from tests.unit.external_client.shell import LinkedHandler, make_settings, running_client
from tests.unit.external_client.world import device


async def test_session(tmp_path) -> None:
    with MosquittoBroker(tmp_path, has_unix=False) as broker:
        assert broker.port is not None
        handler = LinkedHandler()
        async with ScriptedPeer("127.0.0.1", broker.port) as peer:
            async with running_client(make_settings(broker.port), handler):
                handler.status(device("a"), b"one")
                handler.flush()
                await peer.until(lambda: peer.is_running)
                handler.status(device("a"), b"two")
                handler.flush()
                await handler.until(lambda: ("a", 2) in handler.acks)
            await peer.until(lambda: bool(peer.ended))
            assert [] == peer.violations
            assert [(0, b"one"), (1, b"two"), (3, b"two")] == [
                (each.state, each.status) for each in peer.taken
            ]
