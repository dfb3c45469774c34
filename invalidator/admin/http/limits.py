"""What a peer may take of us."""

from typing import Final

from msgspec import Struct

PIECE: Final = 16 << 10  # bytes that are read at once, and kept ahead
PORTION: Final = 256 << 10  # bytes that are sent at once
HEAD: Final = 16 << 10  # bytes that a head may have before its end is seen
CHUNK: Final = 256  # bytes that a chunk has on average, where there are many: each takes its time
CRUMBS: Final = 1000  # chunks that may be smaller
SMALL: Final = 16 << 10  # bytes of a body that needs no turn, so that nobody slow can keep it out
BODIES: Final = 16  # larger ones that are read at the same time
BACKLOG: Final = 128  # connections that the system keeps for us


class Limits(Struct, frozen=True):
    """Of one server. Seconds, where nothing else is said."""

    body: int = 1 << 20  # bytes
    too_large: str = "the body is too large"  # what is said then
    connections: int = 128
    unsent: int = 16 << 20  # bytes of all answers that peers have not taken; one may be larger
    idle: float = 75.0  # until a request begins
    arrival: float = 10.0  # from its first byte to its last
    reading: float = 30.0  # until the peer has taken an answer
    lingering: float = 2.0  # after our last word, so that the peer can read it
