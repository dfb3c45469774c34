"""A service whose pages a cache at the edge keeps: each answer has a number of its own."""

import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Self


class Origin:
    """Answers every GET with `PATH NUMBER`; `tags` are its pages' tags, by path."""

    def __init__(self) -> None:
        self.tags: dict[str, str] = {}
        self.headers: Mapping[str, str] = {"Cache-Control": "s-maxage=3600"}
        numbers, origin = count(1), self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # head and body in one packet

            def do_GET(self) -> None:
                body = f"{self.path} {next(numbers)}".encode()
                self.send_response(200)
                tags = origin.tags.get(self.path, "")
                for name, value in {**origin.headers, "xkey": tags}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Print nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
