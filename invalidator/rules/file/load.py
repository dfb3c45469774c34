"""Load rules files into a rule set; reports all mistakes together, each with its position."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from invalidator.errors import Problem, RulesError
from invalidator.model import DEFAULT_CACHE
from invalidator.rules.envelope import Envelope
from invalidator.rules.file.build import Parts, read_parts
from invalidator.rules.file.edge import repeated
from invalidator.rules.file.validate import validate
from invalidator.rules.file.yaml import MAX_BYTES, MAX_PROBLEMS, Report
from invalidator.rules.rule import Cache
from invalidator.rules.ruleset import RuleSet

SUFFIXES: Final = (".yaml", ".yml")
MAX_FILES: Final = 1000
WHERE: Final = "the command line or INVALIDATOR_RULES names a file of rules, or a directory of them"


class Source(Struct, frozen=True):
    """One file as it was read."""

    name: str  # as in messages
    text: bytes


def load(path: Path) -> RuleSet:
    """Return the rules of a file or directory, or raise a RulesError with every mistake."""
    return compile_rules(read_files(path))


def compile_rules(sources: Sequence[Source]) -> RuleSet:
    """Return the rules of these files."""
    parts, problems = [], []
    for source in sources:
        report = Report(source.name)
        parts.append(read_parts(source.text, report))
        problems.extend(report.problems)
    problems.extend(validate(parts))
    if problems:
        raise RulesError(_shown(problems))
    try:
        caches = _caches(parts)
        return RuleSet(
            [repeated(rule, caches[rule.cache]) for part in parts for rule in part.rules],
            caches,
            content_hash(sources),
            envelopes=_envelopes(parts),
            tests=[test for part in parts for test in part.tests],
        )
    except Exception as error:  # a gap in our checks must not end a daemon that reloads
        said = f"these rules cannot be compiled: {type(error).__name__}: {error}"
        raise RulesError([Problem(sources[0].name, 0, 0, said)]) from error


def _shown(problems: list[Problem]) -> list[Problem]:
    """Return the problems in the order of the files, no more than a person can use."""
    found = sorted(problems, key=lambda entry: (entry.file, entry.line, entry.column))
    if len(found) < MAX_PROBLEMS:
        return found
    last = found[MAX_PROBLEMS - 1]
    more = Problem(last.file, last.line, last.column, "and more: fix these first")
    return [*found[:MAX_PROBLEMS], more]


def content_hash(sources: Sequence[Source]) -> str:
    """Return a short hash that is the same wherever these files are stored."""
    digest = hashlib.sha256()
    for source in sources:
        name = Path(source.name).name if len(sources) > 1 else ""
        digest.update(f"{name}\0{len(source.text)}\0".encode() + source.text)
    return digest.hexdigest()[:12]


def read_files(path: Path) -> list[Source]:
    """Read the file, or the .yaml files of a directory in the order of their names."""
    try:
        paths = _listed(path) if path.is_dir() else [path]
    except OSError as error:
        raise RulesError([_unread(path, error)]) from error
    found, problems = [], []
    for entry in paths[: MAX_FILES + 1]:
        try:
            found.append(Source(str(entry), _read(entry)))
        except OSError as error:
            problems.append(_unread(entry, error))
    if problems and not path.exists():
        raise RulesError([Problem(str(path), 0, 0, f"does not exist; {WHERE}")])
    if problems:
        raise RulesError(problems)
    if not found:
        said = "the directory has no file that ends in .yaml or .yml"
        raise RulesError([Problem(str(path), 0, 0, said)])
    if len(found) > MAX_FILES:
        said = f"the directory has more than {MAX_FILES} files"
        raise RulesError([Problem(str(path), 0, 0, said)])
    return found


def _unread(path: Path, error: OSError) -> Problem:
    return Problem(str(path), 0, 0, f"cannot be read: {error.strerror or error}")


def _read(path: Path) -> bytes:
    """Read a file; of one that is too large just enough to notice."""
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def _listed(path: Path) -> list[Path]:
    # Entries such as ..data of a ConfigMap begin with a dot, as do editors' files. A broken link is
    # kept: a team's rules must not disappear silently.
    return sorted(
        entry
        for entry in path.iterdir()
        if entry.suffix.lower() in SUFFIXES
        and not entry.name.startswith(".")
        and (entry.is_file() or (entry.is_symlink() and not entry.exists()))
    )


def _caches(parts: Sequence[Parts]) -> dict[str, Cache]:
    written = {cache.name: cache for part in parts for cache in part.caches}
    return {DEFAULT_CACHE: Cache(), **written}


def _envelopes(parts: Sequence[Parts]) -> list[tuple[str, Envelope]]:
    """Return envelopes of single sources, exact names first, then the general one."""
    single = [entry for part in parts for entry in part.sources]
    single.sort(key=lambda entry: "*" in entry[0])
    general = next((part.envelope for part in parts if part.envelope), Envelope())
    return [*single, ("*", general)]
