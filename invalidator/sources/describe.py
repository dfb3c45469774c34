"""Errors of the Kafka library, in one line."""


def describe(error: BaseException) -> str:
    """In one line; the library's errors often say nothing but their name, or their name twice."""
    said = " ".join(str(error).split())
    name = type(error).__name__
    if isinstance(error, TimeoutError):
        return said or "no answer in time"
    return said if said.startswith(name) else f"{name}: {said}".removesuffix(": ")
