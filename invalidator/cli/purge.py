"""`invalidator purge`: invalidate by hand."""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from invalidator.cli.columns import table
from invalidator.cli.common import (
    NOT_CONFIRMED,
    UsageError,
    Verbs,
    add_json,
    add_rules,
    add_settings,
    as_json,
    confirmed,
    person,
    plural,
    rules_path,
    say,
    settings_of,
    warn,
)
from invalidator.runtime.terminal import Progress as Bar
from invalidator.runtime.text import visible

if TYPE_CHECKING:
    from invalidator.model import Cause, Failure, Names
    from invalidator.rules import Cache
    from invalidator.settings import Settings
    from invalidator.targets.redis.count import Counted
    from invalidator.targets.redis.walk import Progress
    from invalidator.targets.store import Store

_EPILOG = """\
examples:
  invalidator purge --key order:single:ord_1 --why "wrong total, OPS-12"
  invalidator purge --tag customer:7 --version prices --why "import went wrong"
  invalidator purge --pattern 'orders:list:*' --dry-run     only counts the keys
  invalidator purge --cache users --pattern 'u:*' --why "new format" --yes

Keys and patterns are written as in Redis, including the cache's prefix. The rules define tags, versions and the keys that sweeps spare. A purge is announced to listeners, and all daemons with the same state Redis log it, with your name and --why.

exit codes:
  0    purged, or counted with --dry-run
  1    Redis cannot be reached, or something could not be purged
  2    the command line, the settings or the rules cannot be used
  4    not confirmed, so nothing was purged
  130  interrupted; what was purged before is gone
"""  # noqa: E501 - help is wrapped when it is shown


def add(verbs: Verbs) -> None:
    parser = verbs.add_parser(
        "purge",
        help="invalidate keys, tags, patterns or versions by hand",
        description="Counts what you name, asks for confirmation and deletes it from the cache.",
        epilog=_EPILOG,
    )
    for kind, meaning in (
        ("key", "this key"),
        ("tag", "every key with this tag"),
        ("pattern", "every key that matches this glob"),
        ("version", "raise this version counter"),
    ):
        parser.add_argument(
            f"--{kind}",
            metavar=kind[0].upper(),
            action="append",
            default=[],
            help=f"{meaning}; repeatable",
        )
    parser.add_argument(
        "--cache", metavar="NAME", default="default", help="the cache, as the rules name it"
    )
    parser.add_argument("--why", metavar="TEXT", default="", help="the reason, for the log")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--dry-run", action="store_true", help="only count the keys")
    parser.add_argument(
        "--allow-broad",
        action="store_true",
        help="permit patterns without a literal prefix, which may empty the cache",
    )
    add_rules(parser)
    add_settings(parser)
    add_json(parser, "print JSON; needs --yes or --dry-run")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    import asyncio

    from invalidator.rules import load as load_rules
    from invalidator.runtime import logs
    from invalidator.settings.caches import check_caches

    names = _names(args)
    settings = settings_of(args)
    caches = load_rules(rules_path(args)).caches
    _check(args, names, caches)
    check_caches(settings, caches)
    logs.configure(settings.log.format, settings.log.level)
    return asyncio.run(_Purge(args, names, settings, caches).run())


def _names(args: argparse.Namespace) -> "Names":
    from invalidator.model import Names

    names = Names(set(args.key), set(args.pattern), set(args.tag), set(args.version))
    if not names.count():
        raise UsageError("nothing to purge: use --key, --tag, --pattern or --version")
    return names


def _check(args: argparse.Namespace, names: "Names", caches: "dict[str, Cache]") -> None:
    from invalidator import layout
    from invalidator.model import KINDS
    from invalidator.rules.globs import literal_start
    from invalidator.rules.rule import TARGETS

    if args.cache not in caches:
        listed = ", ".join(sorted(caches))
        raise UsageError(f"the rules have no cache {args.cache}; they have {listed}")
    if not (args.why.strip() or args.dry_run):
        raise UsageError("--why is required: it is written to the log")
    kinds = TARGETS[caches[args.cache].target].kinds
    if foreign := [kind for kind in KINDS if getattr(names, kind) and kind not in kinds]:
        raise UsageError(f"the cache {args.cache} has no {foreign[0]}; it has {', '.join(kinds)}")
    broad = sorted(p for p in names.patterns if not literal_start(p))
    if broad and not args.allow_broad:
        raise UsageError(
            f"{', '.join(broad)} has no literal prefix, so it may empty the cache; "
            "use a narrower pattern, or --allow-broad"
        )
    if args.json and not (args.yes or args.dry_run):
        raise UsageError("--json asks no question, so it needs --yes or --dry-run")
    if own := sorted(key for key in names.keys if key.startswith(layout.OWN)):
        raise UsageError(f"{', '.join(own)}: these are invalidator's own keys and cannot be purged")


class _Purge:
    def __init__(
        self,
        args: argparse.Namespace,
        names: "Names",
        settings: "Settings",
        caches: "dict[str, Cache]",
    ) -> None:
        self._args = args
        self._names = {args.cache: names}
        self._settings = settings
        self._caches = caches
        self._dry = args.dry_run or settings.dry_run
        self._swept = 0  # keys that sweeps deleted
        self._bar = Bar("keys seen", sys.stderr)

    async def run(self) -> int:
        from invalidator.runtime.health import Health
        from invalidator.targets.build import store_of

        # There is no time to wait for a heartbeat to learn who listens.
        said = {"announce": "always"} if self._settings.announce == "listened" else {}
        settings = self._settings.model_copy(update=said)
        store = store_of(settings, Health(), observe=self._observe)
        try:
            found = await store.count(self._names, self._caches)
            if self._args.json and self._dry:
                print(as_json({"cache": self._args.cache, "dry_run": True, **_counted(found)}))
                return 0
            if not self._args.json:
                _show(found, self._args.cache)
            if self._dry:
                if not self._args.dry_run:
                    print("not purged: INVALIDATOR_DRY_RUN is set")
                return 0
            if not (self._args.yes or confirmed("purge? [y/N] ")):
                print("not purged")
                return NOT_CONFIRMED
            return await self._apply(store)
        finally:
            await store.close()

    async def _apply(self, store: "Store") -> int:
        import asyncio

        from invalidator.model import Cause
        from invalidator.runtime.tasks import end

        cause = Cause("purge", "", person(), self._args.why.strip())
        serving = asyncio.create_task(store.run())
        try:
            outcome = await store.application(self._names, self._caches, cause).apply_names()
            failures = [*outcome.failures]
            for sweep in outcome.sweeps:
                failures += await sweep.wait()
        finally:
            await end(serving)
        deleted = outcome.existed + self._swept
        told = self._told(cause, deleted, failures)
        self._log(told)
        await self._announce(told)
        for failure in failures:
            warn(f"{failure.kind} {failure.name} could not be purged: {failure.message}")
        if self._args.json:
            print(
                as_json({**told, "failures": [f"{f.kind} {f.name}: {f.message}" for f in failures]})
            )
        else:
            print(f"purged: {self._done(deleted, failures)}")
        return int(bool(failures))

    def _done(self, deleted: int, failures: "Sequence[Failure]") -> str:
        if self._caches[self._args.cache].at_edge:
            count = self._names[self._args.cache].without(failures).count()
            return f"{plural(count, 'name')} at the edge"
        return f"{plural(deleted, 'key')} deleted{self._raised(failures)}"

    def _raised(self, failures: "Sequence[Failure]") -> str:
        names = self._names[self._args.cache]
        count = len(names.versions) - sum(failure.kind == "versions" for failure in failures)
        return f", {plural(count, 'version')} raised" if names.versions else ""

    def _observe(self, progress: "Progress") -> None:
        if progress.ended:
            self._swept += progress.removed
            self._bar.clear()
        else:
            again = f", again: {progress.again}" if progress.again else ""
            self._bar.show(progress.seen, progress.total, f"{progress.matched:,} match{again}")

    def _told(
        self, cause: "Cause", deleted: int, failures: "Sequence[Failure]"
    ) -> dict[str, str | int]:
        """Return what logs say of it: counts, and no names."""
        from msgspec.structs import asdict

        return {
            "who": cause.who,
            "why": cause.why,
            "cache": self._args.cache,
            **{kind: len(found) for kind, found in asdict(self._names[self._args.cache]).items()},
            "deleted": deleted,
            "failed": len(failures),
        }

    def _log(self, told: dict[str, str | int]) -> None:
        import structlog
        from msgspec.structs import asdict

        log = structlog.get_logger("invalidator")
        log.info("purged", **told)
        names = asdict(self._names[self._args.cache])
        log.debug("purged-names", **{kind: sorted(found) for kind, found in names.items() if found})

    async def _announce(self, told: dict[str, str | int]) -> None:
        """Have all daemons log it."""
        from invalidator.daemon.notices import Notices
        from invalidator.errors import Unavailable

        notices = Notices.of(self._settings)
        try:
            await notices.purged(told)
        except Unavailable as error:
            warn(f"purged, but the daemons do not log it: {error}")
        finally:
            await notices.aclose()


def _counted(found: "Sequence[Counted]") -> dict[str, object]:
    from msgspec import to_builtins

    return {"found": to_builtins(found), "keys": sum(entry.keys for entry in found)}


def _show(found: "Sequence[Counted]", cache: str) -> None:
    say(f"in the cache {cache}:")
    rows = [
        (entry.kind.removesuffix("s"), visible(entry.name), f"({visible(entry.found)})")
        for entry in found
    ]
    say("\n".join(table(rows, indent="  ", wraps=1)))
    say(f"about {plural(sum(entry.keys for entry in found), 'key')} to delete")
