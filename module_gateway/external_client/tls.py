"""TLS towards a control plane's broker, from files (fleet-protocol 4.1, E21)."""

from __future__ import annotations

import ssl

from module_gateway.protocol.errors import ConfigError
from module_gateway.runtime.settings import Endpoint


def make_context(endpoint: Endpoint, where: str) -> ssl.SSLContext | None:
    """The context of one endpoint, read from its files now; None when it does not ask for TLS.

    The peer's certificate and host name are verified; there is no way to switch that off, and
    never a fall back to plaintext (G-16).

    Raises:
        ConfigError: a file is missing or cannot be used; `where` names the endpoint.
    """
    settings = endpoint.mqtt_settings
    if not settings.ssl:
        return None
    named = {
        "ca-file": settings.ca_file,
        "client-cert": settings.client_cert,
        "client-key": settings.client_key,
    }
    for key, path in named.items():
        if not path:
            raise ConfigError(
                f"{where}.mqtt-settings.{key}", got=None, expected="a file, because ssl is true"
            )
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
        context.load_cert_chain(settings.client_cert, settings.client_key)
    except OSError as error:
        raise ConfigError(
            f"{where}.mqtt-settings",
            got=tuple(named.values()),
            expected="a PEM trust store, a PEM certificate and its key",
            hint=error.strerror or type(error).__name__,
        ) from error
    return context
