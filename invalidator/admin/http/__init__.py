"""HTTP/1.1 for the admin port.

What the protocol says is known to h11, which does no I/O; here are the sockets, and their bounds.
"""

from invalidator.admin.http.limits import Limits
from invalidator.admin.http.message import Request, Response, as_json, said
from invalidator.admin.http.server import Handler, Server

__all__ = ["Handler", "Limits", "Request", "Response", "Server", "as_json", "said"]
