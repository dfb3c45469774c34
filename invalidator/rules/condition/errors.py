"""How a condition fails: while it is read, or on one event."""

from invalidator.errors import InvalidatorError


class ConditionSyntaxError(InvalidatorError):
    """This text is no condition."""

    def __init__(self, message: str, column: int) -> None:
        super().__init__(message)
        self.message = message
        self.column = column  # from 1, counted in characters of the whole text


class ConditionError(InvalidatorError):
    """This event gives the condition no answer."""

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.path = path  # the field that was to blame, as a person writes it; may be empty
