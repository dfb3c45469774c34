"""The type that a function returns, where its codec comes from."""

import inspect
from collections.abc import Callable
from typing import Any, get_args, get_origin

from invalidator.cache.errors import CodecError
from invalidator.cache.loading import Loaded


def returned(function: Callable[..., Any]) -> Any:
    """Return the annotation of a function's result; of no other, they may be unresolvable."""
    annotation = inspect.signature(function).return_annotation
    if annotation is inspect.Signature.empty:
        return Any
    if isinstance(annotation, str):
        scope = getattr(inspect.unwrap(function), "__globals__", {})
        try:
            annotation = eval(annotation, scope)  # noqa: S307 - the author's own annotation
        except NameError as error:
            said = f"{function.__qualname__} returns {annotation!r}, which is unknown here"
            raise CodecError(f"{said} ({error}): import it at run time, or pass codec=") from None
    if get_origin(annotation) is Loaded:
        (annotation,) = get_args(annotation)
    return annotation
