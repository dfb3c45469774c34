"""Who may ask. A web page of somebody else's must not read what the daemon says to its owner.

Such a page cannot read our answers, unless its own name is made to lead to our address (DNS
rebinding): the name then stands in `Host`, and is none of ours.
"""

import ipaddress
from collections.abc import Callable, Collection, Mapping
from typing import Final
from urllib.parse import urlsplit

from invalidator.admin.http import Request, Response, said

FREE: Final = frozenset({"/livez", "/readyz", "/metrics"})  # tell nothing of rules and keys
# Whatever is answered: browsers are to run and embed nothing that is not ours.
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
    """Refuses what comes by a strange name, or from the page of another."""
    ours = frozenset(name.lower() for name in names)
    return lambda request: _refusal(request, ours)


def _refusal(request: Request, ours: Collection[str]) -> Response | None:
    if request.path in FREE:
        return None
    name = host_of(request.header("Host"))
    if not (is_ours(name) or name in ours):
        why = f"{name or 'no name'} is none of this daemon's: add it to INVALIDATOR_ADMIN__HOSTS"
        return said(403, why)
    elsewhere = request.header("Sec-Fetch-Site") not in ("", "none", "same-origin")
    if elsewhere and (request.method, request.path) != ("GET", "/"):  # a link is no harm
        return said(403, "the page of another site asks here: that is not allowed")
    return None


def host_of(header: str) -> str:
    """The name in `Host`, without the port; empty where there is none."""
    try:
        return (urlsplit(f"//{header}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def is_ours(name: str) -> bool:
    """An address, localhost, or a name without a dot, which nobody can own in the public DNS."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return bool(name) and ("." not in name or name.endswith(".localhost"))
    return True
