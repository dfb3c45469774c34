"""An HTTP/1.1 server: for the admin port, and for events over HTTP.

h11 implements the protocol without I/O; here are the sockets and their limits.
"""

from invalidator.runtime.http.message import Request, Response, as_json, said
from invalidator.runtime.http.server import Handler, Limits, Routes, Server

__all__ = ["Handler", "Limits", "Request", "Response", "Routes", "Server", "as_json", "said"]
