"""`invalidator settings`: every setting, its meaning, its value and where that came from."""

import argparse
import json
import textwrap
from typing import TYPE_CHECKING

from invalidator.cli.common import Verbs

if TYPE_CHECKING:
    from invalidator.settings import Described

_WIDTH = 100

_EPILOG = """\
examples:
  invalidator settings                       what is in force here; passwords are masked
  invalidator settings --env-file prod.env   what that file would make of it
  invalidator settings --json | jq '.[] | select(.origin != "default")'
                                             only what was set
"""


def add(verbs: Verbs) -> None:
    parser = verbs.add_parser(
        "settings",
        help="print every setting, its value and where that came from",
        description="Prints every setting: its name in the environment, its value and where that\n"
        "came from, its default and its meaning. A mistake in any is said instead (exit code 2).",
        epilog=_EPILOG,
    )
    parser.add_argument("--env-file", metavar="PATH", help="file of NAME=value settings")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="as JSON")
    form.add_argument("--markdown", action="store_true", help="as docs/settings.md, defaults only")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from invalidator.settings import defaults, describe, load

    if args.markdown:
        print(_as_markdown(defaults()), end="")
        return 0
    described = describe(load(args.env_file))
    print(_as_json(described) if args.json else "\n\n".join(map(_as_text, described)))
    return 0


def _as_json(described: "list[Described]") -> str:
    from msgspec import to_builtins

    return json.dumps(to_builtins(described), indent=2)


def _as_text(setting: "Described") -> str:
    value = f"{setting.name}={setting.value}"
    where = f"({_origin(setting)})"
    gap = _WIDTH - len(value) - len(where)
    head = [value + " " * gap + where] if gap >= 2 else [value, f"    {where}"]
    return "\n".join([*head, *_wrapped(setting.meaning)])


def _origin(setting: "Described") -> str:
    if setting.origin == "default":
        return "default"
    return f"{setting.origin}; default {setting.default or 'empty'}"


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent="    ", subsequent_indent="    ", break_long_words=False
    )


_INTRODUCTION = """# Settings

Written by `invalidator settings --markdown`; `invalidator settings` prints what is in force.

A setting is looked for, in this order, on the command line, in the environment, in an env file
(`INVALIDATOR_ENV_FILE` or `--env-file`) and in mounted secret files (`INVALIDATOR_SECRETS_DIR`);
else its default holds. A secret file holds one value and is named as the setting, with or without
`INVALIDATOR_`, in upper or lower case: `redis_url`, `INVALIDATOR_REDIS_URL`, `admin__port`. So a
Kubernetes Secret can be mounted as it is, whichever way its keys are named.

Lists are written with commas (`orders,payments`), durations with a unit (`500ms`, `30s`, `10m`,
`1h`, `7d`), sizes with a unit or in bytes (`512KiB`, `4MiB`, `1GiB`, `65536`). In a URL's password,
`/ ? # @` are written `%2F %3F %23 %40`. A wrong value or an unknown `INVALIDATOR_*` name stops the
start with exit code 2 and a message that names every mistake; the variables that Kubernetes makes
for a Service called `invalidator` are let through.

| Setting | Default | Meaning |
|---|---|---|
"""


def _as_markdown(described: "list[Described]") -> str:
    return _INTRODUCTION + "".join(
        f"| `{setting.name}` | {_cell(setting.default)} | {setting.meaning} |\n"
        for setting in described
    )


def _cell(default: str) -> str:
    return f"`{default}`" if default else "empty"
