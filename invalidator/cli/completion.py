"""`invalidator completion`: print the completion script of a shell."""

import argparse

from invalidator.cli.common import Verbs

_SHELLS = ("bash", "zsh", "fish")
_PATHS = ("PATH", "RULES")  # metavars of files and directories

_EPILOG = """\
examples:
  invalidator completion bash \\
    > ~/.local/share/bash-completion/completions/invalidator
  invalidator completion zsh > ~/.zfunc/_invalidator      with ~/.zfunc in your fpath
  invalidator completion fish > ~/.config/fish/completions/invalidator.fish
  source <(invalidator completion bash)                   in this bash only
"""


def add(verbs: Verbs) -> None:
    parser = verbs.add_parser(
        "completion",
        help="print a completion script for your shell",
        description="Prints a script that completes verbs, options and their values in a shell.",
        epilog=_EPILOG,
    )
    parser.add_argument("shell", metavar="SHELL", choices=_SHELLS, help="bash, zsh or fish")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    import shtab

    from invalidator.cli import parser

    line = parser()
    _complete_paths(line)
    print(shtab.complete(line, args.shell))
    return 0


def _complete_paths(parser: argparse.ArgumentParser) -> None:
    import shtab

    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for verb in action.choices.values():
                _complete_paths(verb)
        elif action.metavar in _PATHS:
            action.complete = shtab.FILE  # type: ignore[attr-defined]  # where shtab looks for it
