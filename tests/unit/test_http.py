"""aiohttp is imported in one place, which spares the start its client's certificates."""

import ssl
import subprocess
import sys

from tests.pages import HOUSE

LOOK = """
import ssl
load, paths = ssl.SSLContext.load_default_certs, ssl.SSLContext.set_default_verify_paths
import invalidator.daemon
from aiohttp import connector
assert not connector._SSL_CONTEXT_VERIFIED.cert_store_stats()["x509"]
assert connector._SSL_CONTEXT_VERIFIED.verify_mode is ssl.CERT_REQUIRED  # nobody, not everybody
assert ssl.SSLContext.load_default_certs is load
assert ssl.SSLContext.set_default_verify_paths is paths
"""


def test_no_certificates_are_read_at_the_start() -> None:
    done = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_nobody_imports_it_from_elsewhere() -> None:
    found = [
        path.relative_to(HOUSE).as_posix()
        for path in HOUSE.rglob("*.py")
        if any(
            line.split()[:2] in (["import", "aiohttp"], ["from", "aiohttp"])
            or (line.split()[:1] == ["from"] and line.split()[1].startswith("aiohttp."))
            for line in path.read_text().splitlines()
        )
    ]
    assert found == ["http.py"]
    assert ssl.create_default_context().verify_mode is ssl.CERT_REQUIRED
