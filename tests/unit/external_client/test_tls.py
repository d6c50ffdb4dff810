"""TLS towards the broker: E21, decisions "TLS incomplete"."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from module_gateway.bus.memory import MemoryBroker
from module_gateway.external_client.client import ExternalClient
from module_gateway.external_client.tls import make_context
from module_gateway.external_client.upstream import Target, connect
from module_gateway.protocol.errors import BusError, ConfigError
from module_gateway.protocol.external import Topics
from module_gateway.runtime.settings import Endpoint, MqttSettings
from tests.unit.external_client import fake_broker
from tests.unit.external_client.certificates import Certificates, make_certificates
from tests.unit.external_client.fake_broker import FakeBroker
from tests.unit.external_client.shell import LinkedHandler, make_settings, running_client
from tests.unit.external_client.world import MODULE, TraceModule


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("tls"))


def endpoint(tls: MqttSettings) -> Endpoint:
    return Endpoint(server_ip="127.0.0.1", port=8883, modules=(1,), mqtt_settings=tls)


def target(port: int) -> Target:
    return Target("127.0.0.1", port, "acme/van", Topics.of("acme", "van"))


def test_plaintext_needs_no_context() -> None:
    assert make_context(endpoint(MqttSettings()), "here") is None


@pytest.mark.parametrize("missing", ["ca_file", "client_cert", "client_key"])
def test_E21_incomplete_tls_is_refused_with_the_key_that_is_missing(
    certificates: Certificates, missing: str
) -> None:
    tls = certificates.settings.model_copy(update={missing: ""})
    with pytest.raises(ConfigError) as error:
        ExternalClient(make_settings(8883, tls=tls), {MODULE: TraceModule()}, MemoryBroker().bus())
    assert missing.replace("_", "-") in str(error.value)


@pytest.mark.parametrize("missing", ["ca_file", "client_cert", "client_key"])
def test_E21_unreadable_file_is_refused(certificates: Certificates, missing: str) -> None:
    tls = certificates.settings.model_copy(update={missing: "/nowhere/file.pem"})
    with pytest.raises(ConfigError):
        make_context(endpoint(tls), "here")


def test_file_without_a_certificate_is_refused(certificates: Certificates, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no certificate")
    tls = certificates.settings.model_copy(update={"client_cert": str(tmp_path / "text")})
    with pytest.raises(ConfigError):
        make_context(endpoint(tls), "here")


def test_E21_peer_and_host_name_are_verified(certificates: Certificates) -> None:
    context = make_context(endpoint(certificates.settings), "here")
    assert context is not None
    assert context.check_hostname
    assert ssl.CERT_REQUIRED == context.verify_mode


async def test_connects_with_a_client_certificate(certificates: Certificates) -> None:
    context = make_context(endpoint(certificates.settings), "here")
    async with (
        FakeBroker(tls=certificates.server_context()) as broker,
        connect(target(broker.port), context, lambda *_: None) as up,
    ):
        up.publish(b"secret")
        await broker.until(lambda: bool(broker.of(fake_broker.PUBLISH)))


async def test_E21_certificate_of_another_host_is_refused(
    certificates: Certificates, tmp_path: Path
) -> None:
    stranger = make_certificates(tmp_path, "DNS:somewhere.example")
    tls = stranger.settings
    async with FakeBroker(tls=stranger.server_context()) as broker:
        with pytest.raises(BusError):
            async with connect(
                target(broker.port), make_context(endpoint(tls), "here"), lambda *_: None
            ):
                pass
        # The authority is the wrong one here, the host name right.
        with pytest.raises(BusError):
            async with connect(
                target(broker.port),
                make_context(endpoint(certificates.settings), "here"),
                lambda *_: None,
            ):
                pass
        assert [] == broker.of(fake_broker.CONNECT)


async def test_files_that_vanish_while_running_stop_that_endpoint_only(tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path)
    checks: dict[str, bool] = {}
    async with (
        FakeBroker(tls=certificates.server_context()) as secure,
        FakeBroker() as plain,
    ):
        settings = make_settings(secure.port, plain.port, modules=((MODULE,), (MODULE + 1,)))
        connection = settings.external_connection
        first = connection.endpoints[0].model_copy(update={"mqtt_settings": certificates.settings})
        settings = settings.model_copy(
            update={
                "external_connection": connection.model_copy(
                    update={"endpoints": (first, connection.endpoints[1])}
                )
            }
        )
        modules = (MODULE, MODULE + 1)
        async with running_client(settings, LinkedHandler(), modules, checks) as (client, _, task):
            await client.endpoints[0].broker_up.wait()
            await client.endpoints[1].broker_up.wait()
            (tmp_path / "client.key").unlink()
            secure.drop_all()
            plain.drop_all()
            await plain.until(lambda: len(plain.of(fake_broker.SUBSCRIBE)) >= 2)
            await client.endpoints[0].given_up.wait()
            assert not task.done()
            assert 1 == secure.connections
            assert checks["endpoint_0"] is False
