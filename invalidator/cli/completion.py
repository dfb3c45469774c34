"""`invalidator completion`: what makes a shell complete verbs, options and their values."""

import argparse
from collections.abc import Callable, Iterator, Sequence

from invalidator.cli.common import Verbs
from invalidator.cli.grammar import Verb, Word

_EPILOG = """\
examples:
  invalidator completion bash > ~/.local/share/bash-completion/completions/invalidator
  invalidator completion zsh > ~/.zfunc/_invalidator      with ~/.zfunc in your fpath
  invalidator completion fish > ~/.config/fish/completions/invalidator.fish
  source <(invalidator completion bash)                   in this bash only
"""


def add(verbs: Verbs) -> None:
    parser = verbs.add_parser(
        "completion",
        help="print what completes this in your shell",
        description="Prints the completion of verbs, options and their values for a shell.",
        epilog=_EPILOG,
    )
    parser.add_argument("shell", metavar="SHELL", choices=list(_SHELLS), help="bash, zsh or fish")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from invalidator.cli import parser
    from invalidator.cli.grammar import grammar

    print("\n".join(_SHELLS[args.shell](*grammar(parser()))))
    return 0


# --- bash -----------------------------------------------------------------------------------


def _bash(program: Verb, verbs: Sequence[Verb]) -> Iterator[str]:
    yield "# completion of invalidator in bash, by `invalidator completion bash`"
    yield "_invalidator() {"
    yield "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} verb= words= i"
    yield "  # bash takes --option=value apart: the equals sign is a word of its own"
    yield '  if [ "$cur" = "=" ]; then cur=; elif [ "$prev" = "=" ]; then'
    yield "    prev=${COMP_WORDS[COMP_CWORD-2]}; fi"
    yield "  for ((i = 1; i < COMP_CWORD; i++)); do"
    yield '    case "${COMP_WORDS[i]}" in'
    yield f'      {"|".join(verb.name for verb in verbs)}) verb="${{COMP_WORDS[i]}}"; break;;'
    yield "    esac"
    yield "  done"
    yield '  COMPREPLY=()\n  case "$verb $prev" in'
    for verb in verbs:
        for word in verb.options:
            if word.takes:
                yield f"    {_either(verb.name, word)}) {_bash_value(word)}"
    yield "  esac"
    yield '  case "$verb" in'
    for verb in verbs:
        yield f'    {verb.name}) words="{" ".join(_offered(verb))}";;'
    names = " ".join([*(verb.name for verb in verbs), *_offered(program)])
    yield f'    *) words="{names}";;'
    yield "  esac"
    yield '  COMPREPLY=($(compgen -W "$words" -- "$cur"))'
    paths = [verb.name for verb in verbs if any(word.path for word in verb.arguments)]
    yield f'  case "$verb" in {"|".join(paths)})'
    yield "    [[ $cur == -* ]] ||"
    yield '      mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$cur");;'
    yield "  esac"
    yield "}"
    yield "complete -o filenames -F _invalidator invalidator"


def _either(verb: str, word: Word) -> str:
    return "|".join(f'"{verb} {flag}"' for flag in word.flags)


def _bash_value(word: Word) -> str:
    if word.choices:
        return f'COMPREPLY=($(compgen -W "{" ".join(word.choices)}" -- "$cur")); return;;'
    if word.path:
        return 'mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return;;'
    return "return;;"


def _offered(verb: Verb) -> list[str]:
    """The long options, and what the arguments may be."""
    flags = [flag for word in verb.options for flag in word.flags if flag.startswith("--")]
    return flags + [choice for word in verb.arguments for choice in word.choices]


# --- zsh ------------------------------------------------------------------------------------


def _zsh(program: Verb, verbs: Sequence[Verb]) -> Iterator[str]:
    yield "#compdef invalidator"
    yield "# by `invalidator completion zsh`"
    yield "_invalidator() {"
    yield "  local context state state_descr line"
    yield "  typeset -A opt_args"
    yield "  local -a verbs"
    yield f"  verbs=({' '.join(_quoted(f'{verb.name}:{verb.help}') for verb in verbs)})"
    yield f"  _arguments -C {_zsh_words(program)} '1:verb:->verb' '*::argument:->argument'"
    yield '  case "$state" in'
    yield "    verb) _describe verb verbs;;"
    yield '    argument) case "$line[1]" in'
    for verb in verbs:
        yield f"      {verb.name}) _arguments {_zsh_words(verb)};;"
    yield "    esac;;"
    yield "  esac"
    yield "}"
    yield 'if [ "${funcstack[1]}" = _invalidator ]; then _invalidator "$@"'
    yield "else compdef _invalidator invalidator; fi"


def _zsh_words(verb: Verb) -> str:
    specs = [spec for word in verb.options for spec in _zsh_specs(word)]
    specs += [f"{at}{_zsh_value(word)}" for at, word in enumerate(verb.arguments, 1)]
    return " ".join(map(_quoted, specs))


def _zsh_specs(word: Word) -> list[str]:
    said = word.help.translate(_ZSH)
    value = _zsh_value(word) if word.takes else ""
    star = "*" if word.repeats else ""
    return [f"{star}{flag}[{said}]{value}" for flag in word.flags]


def _zsh_value(word: Word) -> str:
    return f":{word.takes.translate(_ZSH)}:{_zsh_values(word)}"


_ZSH = str.maketrans({"[": r"\[", "]": r"\]", ":": r"\:"})


def _zsh_values(word: Word) -> str:
    if word.choices:
        return f"({' '.join(word.choices)})"
    return "_files" if word.path else " "


# --- fish -----------------------------------------------------------------------------------


def _fish(program: Verb, verbs: Sequence[Verb]) -> Iterator[str]:
    yield "# completion of invalidator in fish, by `invalidator completion fish`"
    yield "complete -c invalidator -f"
    for word in program.options:
        yield _fish_option(word, "__fish_use_subcommand")
    for verb in verbs:
        yield (
            f"complete -c invalidator -n __fish_use_subcommand -a {verb.name} "
            f"-d {_quoted(verb.help, fish=True)}"
        )
        seen = f"__fish_seen_subcommand_from {verb.name}"
        for word in verb.options:
            yield _fish_option(word, seen)
        for word in verb.arguments:
            if word.choices:
                yield f"complete -c invalidator -n '{seen}' -a '{' '.join(word.choices)}'"
            elif word.path:
                yield f"complete -c invalidator -n '{seen}' -F"


def _fish_option(word: Word, when: str) -> str:
    flags = [f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in word.flags]
    value = ""
    if word.choices:
        value = f" -x -a '{' '.join(word.choices)}'"
    elif word.takes:
        value = " -r -F" if word.path else " -x"
    said = _quoted(word.help, fish=True)
    return f"complete -c invalidator -n '{when}' {' '.join(flags)}{value} -d {said}"


def _quoted(text: str, *, fish: bool = False) -> str:
    """In single quotes."""
    escaped = text.replace("\\", "\\\\").replace("'", r"\'") if fish else text.replace("'", r"'\''")
    return f"'{escaped}'"


_SHELLS: dict[str, Callable[[Verb, Sequence[Verb]], Iterator[str]]] = {
    "bash": _bash,
    "zsh": _zsh,
    "fish": _fish,
}
