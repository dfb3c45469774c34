"""aiohttp, without what its client reads when it is imported.

It makes two contexts for TLS there, each with all authorities that the system trusts: 0.2 s, more
than a tenth of the daemon's start. The admin port has no use for them, and our only client, which
asks for tokens, brings a context of its own.
"""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def _no_authorities() -> Iterator[None]:
    """A context that is made meanwhile trusts nobody."""
    context: Any = ssl.SSLContext
    load = context.load_default_certs
    context.load_default_certs = context.set_default_verify_paths = lambda *_: None
    try:
        yield
    finally:
        context.load_default_certs = load
        del context.set_default_verify_paths  # that of the class above counts again


with _no_authorities():
    import aiohttp
    from aiohttp import web
    from aiohttp.typedefs import Middleware

__all__ = ["Middleware", "aiohttp", "web"]
