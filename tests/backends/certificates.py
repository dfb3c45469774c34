"""Certificates for tests: an authority, a server's and a client's, made when they are needed."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_EXTENSIONS = """\
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
[server]
basicConstraints = CA:FALSE
subjectAltName = DNS:localhost, IP:127.0.0.1
[client]
basicConstraints = CA:FALSE
"""


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM files in one folder."""

    folder: Path

    @staticmethod
    def available() -> bool:
        return shutil.which("openssl") is not None

    @classmethod
    def make(cls, folder: Path) -> "Certificates":
        made = cls(folder)
        (folder / "extensions").write_text(_EXTENSIONS)
        made._key_and_request("ca", "an authority for tests")
        made._sign("ca", "-key", "ca.key")
        for name in ("server", "client"):
            made._key_and_request(name, name)
            made._sign(name, "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial")
        return made

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    def certificate(self, name: str) -> Path:
        return self.folder / f"{name}.pem"

    def key(self, name: str) -> Path:
        return self.folder / f"{name}.key"

    def for_redis(self, port: int) -> dict[str, str]:
        """What a redis-server needs that asks its clients for certificates, on a second port."""
        return {
            "tls-port": str(port),
            "tls-ca-cert-file": str(self.ca),
            "tls-cert-file": str(self.certificate("server")),
            "tls-key-file": str(self.key("server")),
            "tls-auth-clients": "yes",
        }

    def for_replication(self, port: int) -> dict[str, str]:
        return self.for_redis(port) | {"tls-replication": "yes"}

    def for_cluster(self, port: int) -> dict[str, str]:
        return self.for_replication(port) | {"tls-cluster": "yes"}

    def for_clients(self) -> dict[str, str]:
        """The client library's options."""
        return {
            "ssl_ca_certs": str(self.ca),
            "ssl_certfile": str(self.certificate("client")),
            "ssl_keyfile": str(self.key("client")),
        }

    def _key_and_request(self, name: str, subject: str) -> None:
        self._openssl(
            "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={subject}",
        )  # fmt: skip

    def _sign(self, name: str, *how: str) -> None:
        self._openssl(
            "x509", "-req", "-in", f"{name}.csr", *how, "-days", "2", "-out", f"{name}.pem",
            "-extfile", "extensions", "-extensions", name,
        )  # fmt: skip

    def _openssl(self, *words: str) -> None:
        subprocess.run(["openssl", *words], cwd=self.folder, check=True, capture_output=True)
