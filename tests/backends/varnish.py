"""A private Varnish, with the VCL that the documentation gives."""

import http.client
import re
import shutil
import subprocess
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from tests.backends.server import Server
from tests.pages import TOP, Page

PAGE = TOP / "docs" / "edge.md"
VMODS = Path("/usr/lib")
NO_VARNISH = "no Varnish with xkey: install varnish and varnish-modules (Debian)"


class Varnish(Server):
    """A cache in front of a service on `backend`, a port of this machine."""

    def __init__(self, backend: int, vcl: str = "", port: int | None = None) -> None:
        super().__init__(port)
        self.backend = backend
        self._vcl = (vcl or documented_vcl()).replace('"8080"', f'"{backend}"')
        self._versions = 0

    @staticmethod
    def available() -> bool:
        return shutil.which("varnishd") is not None and any(VMODS.glob("**/libvmod_xkey.so"))

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def prepare(self) -> None:
        (self.directory / "default.vcl").write_text(self._vcl)

    def command(self) -> list[str]:
        settings = {
            "thread_pools": 1,
            "thread_pool_min": 10,
            "thread_pool_max": 200,
            "ban_lurker_age": 1,
        }
        more = [word for name, value in settings.items() for word in ("-p", f"{name}={value}")]
        return [
            shutil.which("varnishd") or "varnishd",
            *("-F", "-j", "none", "-n", str(self.directory / "work")),
            *("-a", self.address, "-f", str(self.directory / "default.vcl")),
            *("-s", "malloc,64m", *more),
        ]

    def is_ready(self) -> bool:
        try:
            return self.get("/", method="BAN")[0] > 0
        except OSError:
            return False

    def use(self, vcl: str) -> None:
        """Put another VCL in force; what is cached stays."""
        self._versions += 1
        name = f"version{self._versions}"
        path = self.directory / f"{name}.vcl"
        path.write_text(vcl.replace('"8080"', f'"{self.backend}"'))
        for words in (("vcl.load", name, str(path)), ("vcl.use", name)):
            command = ["varnishadm", "-n", str(self.directory / "work"), *words]
            subprocess.run(command, check=True, capture_output=True)

    def get(
        self,
        path: str,
        *,
        host: str = "www.example.com",
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, str, Mapping[str, str]]:
        """Return status, body and headers of a response."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as link:
            link.request(method, path, headers={"Host": host, **(headers or {})})
            response = link.getresponse()
            return response.status, response.read().decode(), dict(response.getheaders())


def documented_vcl() -> str:
    """Return the VCL of docs/edge.md."""
    (block,) = (block for block in Page(PAGE).blocks if block.language == "vcl")
    assert re.search(r'port = "8080"', block.text)
    return block.text
