"""HTTP/1.1 for the admin port.

h11 implements the protocol without I/O; here are the sockets and their limits.
"""

from invalidator.admin.http.message import Request, Response, as_json, said
from invalidator.admin.http.server import Handler, Limits, Server

__all__ = ["Handler", "Limits", "Request", "Response", "Server", "as_json", "said"]
