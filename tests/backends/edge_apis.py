"""Servers that speak the purge APIs of Fastly and Cloudflare, with their limits and errors, and one
that takes webhooks. Each knows which names it still has, and can be made to fail."""

import base64
import hashlib
import hmac
import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Self

from tests.backends.server import free_port

TOKEN = "a-token"
Answer = tuple[int, Mapping[str, str], object]
Fault = Callable[["EdgeApi", BaseHTTPRequestHandler], Answer | None]  # None: it has answered


class EdgeApi:
    """Takes purges of names; `held` are those that were never purged."""

    path: ClassVar[str] = ""  # of the URL that a person is given

    def __init__(self) -> None:
        self.port = free_port()
        self.held: set[str] = set()
        self.purged: list[str] = []  # in the order of arrival, repetitions included
        self.statuses: list[int] = []
        self.token = TOKEN
        self.fault: Fault | None = None
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.path}"

    @property
    def stopped(self) -> bool:
        return self._server is None

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        raise NotImplementedError

    def purge(self, *names: str) -> None:
        self.purged += names
        self.held.difference_update(names)

    def start(self) -> Self:
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # head and body in one packet

            def do_POST(self) -> None:
                self.body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                fault = api.fault
                found = fault(api, self) if fault else api.answered(self)
                if found:
                    api.send(self, found)

            def log_message(self, *_: object) -> None:
                """Print nothing."""

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_: object) -> None:
                """A client that is gone is no mistake here."""

        self._server = Quiet(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def answered(self, request: Any) -> Answer:
        return self.answer(request.path, request.headers, request.body)

    def send(self, request: Any, answer: Answer) -> None:
        status, headers, said = answer
        body = b"" if said is None else json.dumps(said).encode()
        self.statuses.append(status)
        with suppress(OSError):
            request.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                request.send_header(name, value)
            request.end_headers()
            request.wfile.write(body)

    def stop(self) -> None:
        """Refuse connections; those that stand end with their next request."""
        server, self._server = self._server, None
        if server:
            self.fault = _gone
            server.shutdown()
            server.server_close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def _gone(api: EdgeApi, request: Any) -> None:
    request.close_connection = True
    with suppress(OSError):
        request.connection.shutdown(socket.SHUT_RDWR)


def slow(seconds: float) -> Fault:
    def fault(api: EdgeApi, request: Any) -> Answer:
        time.sleep(seconds)
        return api.answered(request)

    return fault


def status(code: int, **headers: str) -> Fault:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda api, request: (code, named, {"msg": "not now"})


def half(api: EdgeApi, request: Any) -> None:
    """Do what was asked, and break off in the middle of the answer."""
    api.answered(request)
    with suppress(OSError):
        request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
        request.wfile.flush()
    _gone(api, request)


class FastlyApi(EdgeApi):
    """One service, with surrogate keys and URLs."""

    path = "/service/SU1Z0isxPaozGVKXdv0eY"
    together = 256

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        if headers.get("Fastly-Key") != self.token:
            return 401, {}, {"msg": "Provided credentials are missing or invalid"}
        if path.startswith("/purge/"):
            self.purge(f"https://{path.removeprefix('/purge/')}")
            return 200, {}, {"status": "ok", "id": "108-1391560174-974124"}
        if path != f"{self.path}/purge":
            return 404, {}, {"msg": "Record not found"}
        keys = json.loads(body)["surrogate_keys"]
        if not keys or len(keys) > self.together:
            return 400, {}, {"msg": "Bad request", "detail": "Too many surrogate keys"}
        if any(len(key) > 1024 for key in keys):
            return 400, {}, {"msg": "Bad request", "detail": "a key is too long"}
        self.soft = headers.get("Fastly-Soft-Purge") == "1"
        self.purge(*keys)
        return 200, {}, dict.fromkeys(keys, "108-1391560174-974124")


class CloudflareApi(EdgeApi):
    """One zone, with tags, prefixes and URLs, and the token bucket of its account."""

    path = "/client/v4/zones/023e105f4ecef8ad9ca31a8372d0c353"

    def __init__(self, rate: float = 1e9, bucket: int = 10**9) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self._rate = rate
        self._bucket = self._tokens = float(bucket)
        self._then = time.monotonic()
        self._turn = threading.Lock()

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        login = headers.get("Authorization", "")
        if len(login) < 12:  # no token looks so
            return _cloudflare(400, 6003, "Invalid request headers")
        if login != f"Bearer {self.token}":
            return _cloudflare(401, 10000, "Authentication error")
        if path != f"{self.path}/purge_cache":
            return _cloudflare(404, 7003, "Could not route to the zone, is its identifier valid?")
        if not self._may():
            return 429, {"Retry-After": "1"}, {"success": False, "errors": []}
        ((kind, names),) = json.loads(body).items()
        self.sizes.append(len(names))
        if len(names) > 100:
            return _cloudflare(400, 1084, "Too many operations in one request")
        if kind == "files" and any("example.com" not in url for url in names):
            return _cloudflare(400, 1016, "Unable to purge: this URL is not of your zone")
        self.purge(*(f"{name}*" if kind == "prefixes" else name for name in names))
        return 200, {}, {"success": True, "errors": [], "messages": [], "result": {"id": "9a7"}}

    def _may(self) -> bool:
        with self._turn:
            now = time.monotonic()
            self._tokens = min(self._bucket, self._tokens + (now - self._then) * self._rate)
            self._then = now
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True


def _cloudflare(code: int, error: int, message: str) -> Answer:
    errors = [{"code": error, "message": message}]
    return code, {}, {"success": False, "errors": errors, "messages": [], "result": None}


class Webhook(EdgeApi):
    """Takes names in JSON, and each request once."""

    path = "/invalidate?from=tests"

    def __init__(self) -> None:
        super().__init__()
        self.bodies: list[Any] = []
        self.ids: list[str] = []

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        name, sent_at = headers["webhook-id"], headers["webhook-timestamp"]
        signed = f"{name}.{sent_at}.".encode() + body
        digest = hmac.new(self.token.encode(), signed, hashlib.sha256).digest()
        if headers.get("webhook-signature") != f"v1,{base64.b64encode(digest).decode()}":
            return 401, {}, {"error": "wrong signature"}
        if abs(time.time() - int(sent_at)) > 300:
            return 401, {}, {"error": "too old"}
        assert headers["Idempotency-Key"] == name
        assert path == self.path
        self.ids.append(name)
        self.bodies.append(json.loads(body))
        kinds = (found for kind, found in self.bodies[-1].items() if kind != "cache")
        self.purge(*(name for found in kinds for name in found))
        return 204, {}, None
