"""Certificates for an hour: an authority, a server on 127.0.0.1, and a client."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
KEY_PASSWORD = "of the client's key"


@dataclass(frozen=True, slots=True)
class Signed:
    """A certificate and its key, apart and in one file."""

    certificate: Path
    key: Path
    both: Path


@dataclass(frozen=True, slots=True)
class Certificates:
    authority: Path
    server: Signed
    client: Signed  # its key has a password
    stranger: Signed  # signed by nobody that the server knows


def make_certificates(folder: Path) -> Certificates:
    own = ["req", "-x509", "-days", "1"]
    # Python 3.13 and later trust no authority that does not say what its key is for.
    signs = [*own, "-addext", "keyUsage=critical,keyCertSign,cRLSign"]
    authority = _openssl(folder, "authority", "/CN=authority", signs, ["-nodes"])
    sign = [*own, "-CA", str(authority.certificate), "-CAkey", str(authority.key)]
    sign += ["-addext", "basicConstraints=critical,CA:FALSE"]
    server = [*sign, "-addext", "subjectAltName=IP:127.0.0.1"]
    return Certificates(
        authority.certificate,
        _openssl(folder, "server", "/CN=broker", server, ["-nodes"]),
        _openssl(folder, "client", "/CN=client", sign, ["-passout", f"pass:{KEY_PASSWORD}"]),
        _openssl(folder, "stranger", "/CN=stranger", own, ["-nodes"]),
    )


def _openssl(folder: Path, name: str, subject: str, how: list[str], key: list[str]) -> Signed:
    made = Signed(folder / f"{name}.crt", folder / f"{name}.key", folder / f"{name}.pem")
    out = ["-out", str(made.certificate), "-keyout", str(made.key), "-subj", subject]
    subprocess.run(["openssl", *how, *KEY, *key, *out], check=True, capture_output=True)
    made.both.write_text(made.key.read_text() + made.certificate.read_text())
    return made
