"""TLS towards the broker: E21, decisions "TLS incomplete"."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from pathlib import Path

import pytest

from module_gateway.bus.memory import MemoryBroker
from module_gateway.external_client.client import ExternalClient
from module_gateway.external_client.tls import make_context
from module_gateway.external_client.upstream import Target, connect
from module_gateway.protocol.errors import BusError, ConfigError
from module_gateway.protocol.external import Topics
from module_gateway.runtime.settings import Endpoint, MqttSettings
from tests.brokers import TlsMosquittoBroker, mosquitto
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


def target(port: int, connect_timeout_s: float = 30.0) -> Target:
    topics = Topics.of("acme", "van")
    return Target("127.0.0.1", port, "acme/van", topics, connect_timeout_s=connect_timeout_s)


def secure_broker(certificates: Certificates, folder: Path) -> TlsMosquittoBroker:
    own = certificates.folder
    return TlsMosquittoBroker(folder, own / "ca.pem", own / "server.pem", own / "server.key")


async def refusal(port: int, context: ssl.SSLContext, connect_timeout_s: float = 30.0) -> str:
    """The text of the error."""
    with pytest.raises(BusError) as error:
        async with connect(target(port, connect_timeout_s), context, lambda *_: None):
            pytest.fail("it is connected")
    return str(error.value)


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


def context_of(certificates: Certificates) -> ssl.SSLContext:
    context = make_context(endpoint(certificates.settings), "here")
    assert context is not None
    return context


async def test_E21_real_broker_is_spoken_to_in_tls(
    certificates: Certificates, tmp_path: Path
) -> None:
    with secure_broker(certificates, tmp_path) as broker:
        async with connect(
            target(broker.tls_port), context_of(certificates), lambda *_: None
        ) as up:
            up.publish(b"secret")
        assert "acme/van" in broker.log


@pytest.mark.parametrize(
    ("server_name", "days", "words"),
    [("DNS:somewhere.example", 2, "not valid for '127.0.0.1'"), ("IP:127.0.0.1", -1, "expired")],
    ids=["another host", "expired"],
)
async def test_E21_certificate_of_the_broker_must_be_right_in_name_and_time(
    tmp_path: Path, server_name: str, days: int, words: str
) -> None:
    own = make_certificates(tmp_path, server_name, days)
    with secure_broker(own, tmp_path) as broker:
        text = await refusal(broker.tls_port, context_of(own))
        assert "acme/van" not in broker.log
    assert "certificate is not accepted" in text
    assert words in text


async def test_E21_broker_of_another_authority_is_refused(
    certificates: Certificates, tmp_path: Path
) -> None:
    stranger = make_certificates(tmp_path)
    with secure_broker(stranger, tmp_path) as broker:
        text = await refusal(broker.tls_port, context_of(certificates))
    assert "certificate is not accepted" in text


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_broker_that_misses_our_certificate_says_so(
    certificates: Certificates, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    context = ssl.create_default_context(cafile=str(certificates.folder / "ca.pem"))
    context.minimum_version = context.maximum_version = version
    with secure_broker(certificates, tmp_path) as broker:
        assert "our certificate" in await refusal(broker.tls_port, context)


async def test_E21_plain_broker_at_the_tls_port_is_refused_with_a_clear_text(
    certificates: Certificates, tmp_path: Path
) -> None:
    with mosquitto(tmp_path) as broker:
        assert broker.port is not None
        text = await refusal(broker.port, context_of(certificates))
        assert "acme/van" not in broker.log
    assert "not speak TLS at this port" in text


@pytest.mark.parametrize(
    ("answer", "timeout_s", "words"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", 30.0, "does not speak TLS"),
        (b"\x20\x02\x00\x00", 2.0, "no TLS handshake within 2.0 s"),
        (b"", 2.0, "no TLS handshake within 2.0 s"),
    ],
    ids=["web server", "CONNACK", "silence"],
)
async def test_E21_nothing_is_ever_sent_in_plaintext(
    certificates: Certificates, answer: bytes, timeout_s: float, words: str
) -> None:
    received = b""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received
        received += await reader.read(4096)
        writer.write(answer)
        with suppress(ConnectionError):
            received += await reader.read()
        writer.close()
        over.set()

    over = asyncio.Event()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert words in await refusal(port, context_of(certificates), timeout_s)
        await over.wait()
    assert b"\x16\x03" == received[:2]  # a TLS handshake record
    assert b"MQTT" not in received
    assert b"acme" not in received
