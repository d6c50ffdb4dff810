"""A certificate authority for one test, made with the openssl program."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

from module_gateway.runtime.settings import MqttSettings


@dataclass(frozen=True)
class Certificates:
    """Files of an authority, a server and a client."""

    folder: Path

    @property
    def settings(self) -> MqttSettings:
        return MqttSettings(
            ssl=True,
            ca_file=str(self.folder / "ca.pem"),
            client_cert=str(self.folder / "client.pem"),
            client_key=str(self.folder / "client.key"),
        )

    def server_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(
            ssl.Purpose.CLIENT_AUTH, cafile=str(self.folder / "ca.pem")
        )
        context.load_cert_chain(self.folder / "server.pem", self.folder / "server.key")
        context.verify_mode = ssl.CERT_REQUIRED
        return context


def make_certificates(
    folder: Path, server_name: str = "IP:127.0.0.1", server_days: int = 2
) -> Certificates:
    """With negative `server_days` the server's certificate has expired."""
    program = shutil.which("openssl")
    assert program is not None, "openssl is not installed"

    def openssl(*arguments: str) -> None:
        subprocess.run([program, *arguments], cwd=folder, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl(
        *("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem"),
        *("-days", "2", "-subj", "/CN=authority"),
    )
    for name, alternative, days in (
        ("server", server_name, server_days),
        ("client", "DNS:gateway", 2),
    ):
        (folder / f"{name}.ext").write_text(f"subjectAltName={alternative}\n")
        openssl(
            *("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr"),
            *("-subj", f"/CN={name}"),
        )
        openssl(
            *("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key"),
            *(
                "-CAcreateserial",
                "-days",
                str(days),
                "-extfile",
                f"{name}.ext",
                "-out",
                f"{name}.pem",
            ),
        )
    return Certificates(folder)
