"""The failures of a condition: while it is parsed, or for one event."""

from invalidator.errors import InvalidatorError


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
