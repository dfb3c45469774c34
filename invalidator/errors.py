"""Every failure has one base, and its class says what may be done about it."""

from collections.abc import Sequence

from msgspec import Struct


class InvalidatorError(Exception):
    """Something went wrong that invalidator can explain."""


class Rejected(InvalidatorError):  # noqa: N818 - the domain's word
    """This event, or one rule for it, can never work: it goes to the dead letters, unretried."""

    def __init__(
        self,
        message: str,
        *,
        error: str = "rejected",
        what: str = "",
        path: "tuple[str, Sequence[str | int | None]] | None" = None,
    ) -> None:
        super().__init__(message)
        self.path = path  # the root and the steps of a field that the event lacks
        self.error = error  # a short stable word for lists and metrics, such as "missing-field"
        self.what = what  # the template, condition or operation that failed, as its author wrote it


class Unavailable(InvalidatorError):  # noqa: N818 - the domain's word
    """A server is unavailable or rejects everything for now: retried until it is available."""

    def __init__(self, server: str, message: str, code: str = "") -> None:
        super().__init__(f"{server}: {message}")
        self.server = server  # what a person calls it, without a password
        self.code = code  # a short stable word, such as "timeout"


class Problem(Struct, frozen=True):
    """One mistake in a file that a person wrote, with all they need to fix it."""

    file: str
    line: int  # from 1; 0 where the file as a whole is meant
    column: int  # from 1
    message: str  # what is wrong, what was expected, what to write instead
    text: str = ""  # the offending text

    def __str__(self) -> str:
        where = self.file if not self.line else f"{self.file}:{self.line}:{self.column}"
        found = f"\n    {self.text}" if self.text else ""
        return f"{where}: {self.message}{found}"


class ConfigError(InvalidatorError):
    """The settings cannot be used as they are."""


class RulesError(InvalidatorError):
    """The rules cannot be used as they are."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


def place_of(error: BaseException) -> str:
    """Return where it was raised: in our own code, if it passed through that."""
    from pathlib import Path
    from traceback import extract_tb

    frames = extract_tb(error.__traceback__)
    house = Path(__file__).parent
    ours = [frame for frame in frames if Path(frame.filename).is_relative_to(house)] or frames
    return f"{ours[-1].filename}:{ours[-1].lineno}"


def first_of(error: BaseException) -> BaseException:
    """Return the first failure of a task group."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


class ConditionSyntaxError(InvalidatorError):
    """This text is not a condition."""

    def __init__(self, message: str, column: int) -> None:
        super().__init__(message)
        self.message = message
        self.column = column  # from 1, counted in characters of the whole text


class ConditionError(InvalidatorError):
    """The condition has no answer for this event."""

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.path = path  # the field that caused it, as a person writes it; may be empty
