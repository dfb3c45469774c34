"""HTTP/1.1 for the admin port, and for requesting tokens.

h11 implements the protocol without I/O; here are the sockets and their limits.
"""

from invalidator.http.client import NoAnswer, post_form
from invalidator.http.connection import Limits
from invalidator.http.message import Request, Response, as_json, said
from invalidator.http.server import Handler, Server

__all__ = [
    "Handler",
    "Limits",
    "NoAnswer",
    "Request",
    "Response",
    "Server",
    "as_json",
    "post_form",
    "said",
]
