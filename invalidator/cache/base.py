"""What both caches do alike: names, kinds, and the commands of writers."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

from msgspec import Struct

from invalidator import layout
from invalidator.cache import steering
from invalidator.cache.breaker import Breaker
from invalidator.cache.codecs import Codec, Undecodable, json_codec, value_of, value_start
from invalidator.cache.entry import EARLY, HIT, STALE, Names, judge, new_token, writer_token
from invalidator.cache.errors import BadName, CacheError, UnsafeSet
from invalidator.cache.filling import RECORD, framed, takes
from invalidator.cache.kinds import Kind, Kinds, Policy, Time, seconds
from invalidator.cache.l1 import L1
from invalidator.cache.loading import Loaded
from invalidator.cache.process import Process, Spec
from invalidator.cache.render import Layout, Render, declared, renderer
from invalidator.cache.requests import Found
from invalidator.cache.scripts import BUMP, EXPIRE, FINISH, LEASE, REPLACE, Command
from invalidator.cache.stats import Stats, summed
from invalidator.templates.declared import Declared
from invalidator.templates.values import MAX_NAME

LOADS: Final = 64  # that may run at once without caching
PERMIT: Final = 0.1  # seconds to wait for one of them
MOST_REFRESHES: Final = 64  # that may run in the background at once
MOST_VERSION: Final = 10**16  # of a row


class Missing:
    """Nothing is cached: what `peek` returns then."""

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = Missing()


class Base:
    """The part of a cache that needs no I/O."""

    def __init__(
        self,
        *,
        prefix: str = "",
        kinds: Kinds | None = None,
        loads: int = LOADS,
        stamp: str = layout.TAG_STAMP,
        version: str = layout.VERSION,
        l1: L1 | None = None,
        backplane: bool = False,
    ) -> None:
        if l1 is not None and not backplane:
            raise CacheError("an L1 learns from the backplane what it must drop: backplane=True")
        self.l1 = self.near = (
            l1  # copies in this process; `near`: where cached functions look first
        )
        self.backplane = backplane  # announce what this process invalidates
        self.prefix = prefix
        self.kinds = kinds or Kinds()
        self.breaker = Breaker()
        self._loads = loads
        self._here = Process()
        self._here.stamp = stamp
        self._here.version = version
        self.layout = Layout(prefix, stamp, version)
        self.declared: list[Declared] = []  # for `invalidator check --cache`
        self._plain = json_codec()

    @property
    def stats(self) -> Stats:
        """Return counts since the cache was made."""
        return summed(self._here.stats.values())

    @property
    def stats_by_template(self) -> Mapping[str, Stats]:
        """Return counts by template; what has none counts under `kind:` and its kind."""
        return self._here.stats

    @property
    def loads_in_flight(self) -> int:
        return len(self._here.flights)

    # --- for tests ------------------------------------------------------------------------------

    def off(self) -> AbstractContextManager[None]:
        """Return a context in which reads load, and nothing is cached."""
        return steering.changed(self, steering.Off())

    def watch(self) -> AbstractContextManager[steering.Watch]:
        """Return a context whose value says what was read, loaded and hit."""
        return steering.watched(self)

    def chaos(self, fail: float = 0.0, slow: Time = 0.0) -> AbstractContextManager[None]:
        """Return a context in which a share of calls to Redis fails, and each takes longer."""
        return steering.changed(self, steering.Chaos(fail, seconds(slow)))

    # --- names and kinds ------------------------------------------------------------------------

    def spec(
        self,
        kind: str | Kind,
        codec: Codec | None = None,
        schema: int | None = None,
        template: str = "",
    ) -> Spec:
        policy = self.kinds.policy(kind)
        if schema is not None:
            policy = Kind(schema=schema).over(policy)
        label = template or f"kind:{kind if isinstance(kind, str) else 'custom'}"
        stats = self._here.stats.setdefault(label, Stats())
        return Spec(policy, codec or self._plain, stats=stats)

    def renderer(
        self, function: Any, key: str, tags: Sequence[str], versions: Sequence[str]
    ) -> Render:
        """Compile the templates of a function, and note them."""
        render = renderer(function, key, tags, versions, self.layout)
        self.declared.append(declared(function, key, tags, versions, self.layout))
        return render

    def names(self, key: str, tags: Sequence[str] = (), versions: Sequence[str] = ()) -> Names:
        """Return the Redis keys that a read of this entry needs."""
        full = self.prefix + key
        if not key or len(full) > MAX_NAME or not full.isprintable():
            raise BadName(
                f"an entry's name has 1 to {MAX_NAME} characters, none of control: {key!r}"
            )
        if full.startswith(layout.OWN):
            raise BadName(f"names that begin with {layout.OWN} are invalidator's own: {full!r}")
        return Names(full, self.stamps(tags, versions))

    def stamps(self, tags: Sequence[str], versions: Sequence[str] = ()) -> tuple[str, ...]:
        here = self._here
        return (
            *(here.stamp.replace("{tag}", tag) for tag in tags),
            *(here.version.replace("{name}", name) for name in versions),
        )

    def _seen(self, names: Names, spec: Spec, found: Found) -> Any:
        """Return the value of what was found; MISSING where it may not be served."""
        entry, line = found[0], names.line(found[1:])
        verdict = judge(entry, line, self._here.now(), spec.policy)
        if verdict not in (HIT, EARLY, STALE) or entry is None or line is None:
            return MISSING
        try:
            return value_of(entry, value_start(line), spec.codec)
        except Undecodable:
            return MISSING

    # --- the commands of writers ----------------------------------------------------------------

    def _unlinks(self, keys: Sequence[str]) -> list[Command]:
        return [("UNLINK", key) for key in keys]

    def _bumps(self, versions: Sequence[str]) -> list[Command]:
        return [BUMP(name) for name in self.stamps((), versions)]

    def _expires(self, keys: Sequence[str]) -> list[Command]:
        return [EXPIRE(key) for key in keys]

    def _replacing(self, names: Names, value: Any, version: int | None, spec: Spec) -> Command:
        if version is None:
            raise UnsafeSet
        if not 0 < version < MOST_VERSION:
            raise CacheError(f"a row's version is from 1 to {MOST_VERSION - 1}, not {version}")
        loaded = Loaded(value, version=version)
        entry, ttl = framed(loaded, None, b"", new_token(), spec, self._here)
        return REPLACE(names.key, b"%016d" % version, entry, int(ttl * 1000))


class Write(Struct):
    """A value that a writer fills after its commit; without one, the entry is dropped.

    Where the loader names tags, the value is `Loaded(value, tags=...)`.
    """

    value: Any = MISSING
    version: int = 0

    def loaded(self) -> "Loaded[Any]":
        if isinstance(self.value, Loaded):
            return self.value
        return Loaded(self.value, version=self.version)


class WritePlan:
    """The commands around a writer's transaction."""

    def __init__(self, names: Names, spec: Spec, here: Process) -> None:
        self.write = Write()
        self._names = names
        self._spec = spec
        self._here = here
        self._token = writer_token()
        self._stamps: Sequence[bytes] | None = None

    @property
    def key(self) -> str:
        return self._names.key

    def before(self) -> list[Command]:
        """Return the commands before the transaction: the lease, and every stamp."""
        policy: Policy = self._spec.policy
        length = int(1000 * policy.lease)
        lease = LEASE(self._names.key, self._token, length, RECORD * length, "", "write")
        return [lease, *takes(self._names.stamps, policy, self._here)]

    def began(self, replies: Sequence[Any]) -> None:
        _, *self._stamps = replies

    def after(self) -> Command:
        """Return the command after the commit: fill under the lease, or drop."""
        line = None if self._stamps is None else self._names.line(self._stamps)
        if line is None or self.write.value is MISSING or not self._names_all_tags():
            return self.dropping()
        loaded = self.write.loaded()
        entry, ttl = framed(loaded, None, line, self._token, self._spec, self._here)
        if ttl <= 0 or len(entry) > self._spec.policy.max_bytes:
            return self.dropping()
        return FINISH(self._names.key, self._token, entry, int(ttl * 1000), *self._names.parts)

    def _names_all_tags(self) -> bool:
        """Return whether the writer took the stamps of all tags that the loader would name.

        What it does not say of them is known from loads of this process; FINISH looks at the entry.
        """
        names, here = self._names, self._here
        if isinstance(self.write.value, Loaded):
            return here.stamps(self.write.value.tags) <= {*names.stamps}
        return not self._spec.tagging and {*here.known(names).stamps} <= {*names.stamps}

    def dropping(self) -> Command:
        return ("UNLINK", self._names.key)
