"""Second passes (`repeat_after`) that a shutdown cannot wait for."""

from collections.abc import Iterable, Iterator

from invalidator.rules.rule import Rule
from invalidator.runtime.units import show_duration


def outlasting(rules: Iterable[Rule], drain: float) -> Iterator[tuple[Rule, str]]:
    """The rules that have one, each with what that means."""
    for rule in rules:
        if rule.repeat_after and rule.repeat_after > drain:
            yield (
                rule,
                f"the second pass comes {show_duration(rule.repeat_after)} after the first, and a "
                f"shutdown waits {show_duration(drain)} at most (INVALIDATOR_DRAIN_TIMEOUT): "
                "events between the two are not acknowledged then, the daemon ends with exit code "
                "3, and the next start makes both passes; of pub/sub, which keeps nothing, the "
                "second is made at the shutdown",
            )
