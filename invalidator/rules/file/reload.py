"""Reload rules files that change: they are built and tested before they are handed over.

Content is compared, not times, so the swapped symlink of a Kubernetes ConfigMap counts as an edit.
"""

import asyncio
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from invalidator.errors import Problem, RulesError
from invalidator.rules.explain.run_tests import require_passing
from invalidator.rules.file.load import Source, compile_rules, read_files
from invalidator.rules.ruleset import RuleSet

EVERY: Final = 1.0  # seconds


class Watcher:
    """Reads the rules at a path, and remembers what they were the last time."""

    def __init__(self, path: Path, *, last_good: Path | None = None) -> None:
        self.path = path
        self.last_good = last_good
        self.unkept = ""  # why the last copy could not be written
        self._seen: object = None  # what the files held, or why they could not be read

    def start(self) -> tuple[RuleSet, list[Problem]]:
        """Return the first rules; if they are broken, the last good ones and the problems."""
        try:
            return self._build(self._read()), []
        except RulesError as error:
            kept = self._kept()
            if kept is None:
                raise
            return kept, error.problems

    def look(self, *, force: bool = False) -> RuleSet | None:
        """Return new rules, or None if nothing changed; raise a RulesError once per change."""
        seen = self._seen
        try:
            sources = self._read()
        except RulesError as error:
            said = str(error)
            if said == seen and not force:
                return None
            self._seen = said
            raise
        if sources == seen and not force:
            return None
        return self._build(sources)

    def _read(self) -> list[Source]:
        return read_files(self.path)

    def _build(self, sources: list[Source]) -> RuleSet:
        self._seen = sources
        ruleset = require_passing(compile_rules(sources))
        if self.last_good:
            self._keep(sources, self.last_good)
        return ruleset

    def _keep(self, sources: list[Source], path: Path) -> None:
        """Keep a copy; a full disk is no reason to reject good rules."""
        try:
            _write(sources, path)
            self.unkept = ""
        except OSError as error:
            self.unkept = f"{path}: {error.strerror or error}"

    def _kept(self) -> RuleSet | None:
        if self.last_good is None or not self.last_good.exists():
            return None
        try:
            kept = json.loads(self.last_good.read_bytes())
            return compile_rules([Source(entry["name"], entry["text"].encode()) for entry in kept])
        except (OSError, ValueError, KeyError, TypeError, RulesError):
            return None  # the copy is broken too: the mistakes of the rules themselves say more


def _write(sources: list[Source], path: Path) -> None:
    """Replace the copy in one step, so that it is complete at any moment."""
    kept = [{"name": entry.name, "text": entry.text.decode()} for entry in sources]
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, suffix=".tmp") as file:
        try:
            json.dump(kept, file)
            file.flush()
            os.fsync(file.fileno())
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


async def watch(
    watcher: Watcher,
    accept: Callable[[RuleSet], None],
    reject: Callable[[RulesError], None],
    *,
    wake: asyncio.Event | None = None,
    every: float = EVERY,
) -> None:
    """Look for changes periodically, and immediately when woken; hand over sound rules."""
    while True:
        forced = await _pause(wake, every)
        try:
            ruleset = await asyncio.to_thread(watcher.look, force=forced)
        except RulesError as error:
            reject(error)
        else:
            if ruleset is not None:
                accept(ruleset)


async def _pause(wake: asyncio.Event | None, seconds: float) -> bool:
    """Wait, and return whether somebody asked for a look meanwhile."""
    if wake is None:
        await asyncio.sleep(seconds)
        return False
    try:
        async with asyncio.timeout(seconds):
            await wake.wait()
    except TimeoutError:
        return False
    wake.clear()
    return True
