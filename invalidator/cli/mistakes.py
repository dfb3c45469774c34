"""What went wrong, as a person is told."""

import sys

from invalidator.cli.common import UsageError
from invalidator.errors import ConfigError, InvalidatorError, RulesError


def tell(error: Exception, *, debug: bool) -> int:
    """Say it to a person; the exit code."""
    if debug:
        import traceback

        traceback.print_exception(error)
    match error:
        case ConfigError():
            return _say(f"the settings cannot be used:\n{_indented(error)}", 2)
        case RulesError():
            return _say(f"the rules cannot be used:\n{_indented(error)}", 2)
        case UsageError():
            return _say(str(error), 2)
        case InvalidatorError():
            return _say(str(error), 1)
    more = "" if debug else "\nrun with --debug for the traceback"
    return _say(f"unexpected {type(error).__name__}: {error}{more}", 1)


def _indented(error: Exception) -> str:
    return "\n".join(f"  {line}" for line in str(error).splitlines())


def _say(message: str, code: int) -> int:
    print(f"invalidator: {message}", file=sys.stderr)
    return code
