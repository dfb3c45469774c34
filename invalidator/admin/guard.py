"""Keeps web pages of others from reading what the daemon answers its owner.

Such a page cannot read our answers unless its own name is made to resolve to our address (DNS
rebinding). `Host` then has that name, which is not one of ours.
"""

import ipaddress
from collections.abc import Callable, Collection, Mapping
from typing import Final
from urllib.parse import urlsplit

from invalidator.runtime.http import Request, Response, said

FREE: Final = frozenset({"/livez", "/readyz", "/metrics"})  # show no rules and no keys
# On every answer: browsers must run and embed nothing that is not ours.
HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def guarding(names: Collection[str]) -> Callable[[Request], Response | None]:
    """Return what rejects requests under an unknown name, or from pages of other sites."""
    ours = frozenset(name.lower() for name in names)
    return lambda request: _refusal(request, ours)


def _refusal(request: Request, ours: Collection[str]) -> Response | None:
    if request.path in FREE:
        return None
    name = host_of(request.header("Host"))
    if not (is_ours(name) or name in ours):
        why = f"host {name or '(none)'} is not allowed: add it to INVALIDATOR_ADMIN__HOSTS"
        return said(403, why)
    elsewhere = request.header("Sec-Fetch-Site") not in ("", "none", "same-origin")
    if elsewhere and (request.method, request.path) != ("GET", "/"):  # a link is no harm
        return said(403, "requests from pages of other sites are not allowed")
    return None


def host_of(header: str) -> str:
    """Return the name in `Host`, without the port; empty where there is none."""
    try:
        return (urlsplit(f"//{header}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def is_ours(name: str) -> bool:
    """Return whether it is an address, localhost, or a name without a dot: nobody can own such a
    name in the public DNS."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return bool(name) and ("." not in name or name.endswith(".localhost"))
    return True
