"""Say what one sort of edge understands: how names become requests, what its answers mean."""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final, TypeVar
from urllib.parse import quote

from msgspec import Struct

from invalidator.errors import Unavailable
from invalidator.model import KINDS, Kind, Names
from invalidator.targets.edge.client import Request, Response

T = TypeVar("T")
Name = tuple[Kind, str]
SAID: Final = 200  # characters of a server's reason that are shown
NEVER: Final = (400, 413, 414, 422)  # what the request holds is refused, today and tomorrow
HTTP: Final = re.compile(r"https?://([^/?]+)(.*)", re.DOTALL)
HOST: Final = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")
SAFE: Final = "".join(char for char in map(chr, range(0x21, 0x7F)) if char not in '"#<>\\^`{|}')


class Purge(Struct, frozen=True):
    """A request, and the names that it makes an edge forget."""

    names: tuple[Name, ...]
    request: Request


class Service(ABC):
    """One cache at the edge, as its own interface has it. No I/O here."""

    rate = 0.0  # requests per second that it allows, where the settings do not say; 0: any
    burst = 1  # of them that may come together

    @abstractmethod
    def purges(self, names: Names) -> Iterator[Purge]:
        """Yield the requests for names, as many of them together as it takes."""

    def refusal(self, kind: Kind, name: str) -> str:
        """Return why it could never take this name; empty if it could."""
        return ""

    def sealed(self, request: Request) -> Request:
        """Return a request as it is sent now; it may be sent again later."""
        return request

    def refused(self, server: str, response: Response) -> str:
        """Return why it never takes the names of a request; empty if it has taken them. Raises
        Unavailable where it refuses the request for now."""
        return judge(server, response)


def judge(server: str, response: Response, why: str = "") -> str:
    """Judge a response by its status; `why` is what it says itself."""
    if 200 <= response.status < 300:
        return ""
    said = f"it answered {response.status}{f': {why}' if why else ''}"
    if response.status in NEVER:
        return said
    raise Unavailable(server, said, str(response.status))


def tag_refusal(name: str, longest: int) -> str:
    """Return why this cannot be a tag: tags stand in lists in headers."""
    if not re.fullmatch(r"[!-+\--~]+", name):
        return "a tag at the edge is printable ASCII without spaces and commas"
    return f"it is longer than {longest} characters" if len(name) > longest else ""


def encoded(url: str) -> str:
    """Return a URL as browsers ask for it: without what a URL may not hold."""
    return quote(url, safe=SAFE)


def divided(url: str) -> tuple[str, str]:
    """Return the host of a URL, and the path with its query; a path has no host."""
    if found := HTTP.fullmatch(url):
        return found[1], found[2] if found[2].startswith("/") else f"/{found[2]}"
    return "", url


def url_refusal(url: str) -> str:
    """Return why this cannot be a URL: its host may be what an event said."""
    host, _ = divided(url)
    is_path = url.startswith("/")
    return "" if is_path or HOST.fullmatch(host) else f"{host!r} is not the name of a host"


def alone(name: Name) -> Names:
    """Return one name."""
    names = Names()
    getattr(names, name[0]).add(name[1])
    return names


def each(names: Names) -> Iterator[Name]:
    """Yield all names, those of a kind in order."""
    for kind in KINDS:
        for name in sorted(getattr(names, kind)):
            yield kind, name


def of_kind(kind: Kind, names: Iterable[str]) -> tuple[Name, ...]:
    return tuple((kind, name) for name in names)


def portions(names: Iterable[T], most: int) -> Iterator[list[T]]:
    """Divide names into portions of so many."""
    left = iter(names)
    while few := list(islice(left, most)):
        yield few


def said_in(body: bytes, *path: str | int) -> str:
    """Return the text at a place in a JSON body, such as a reason; empty if there is none."""
    try:
        found: Any = json.loads(body)
        for step in path:
            found = found[step]
    except (ValueError, KeyError, IndexError, TypeError):
        return ""
    return " ".join(str(found or "").split())[:SAID]
