"""The language of names: templates, their filters, and how values become text.

The daemon's rules and the read side render names by this very code, so that a key which a service
reads is the key which a rule deletes.
"""

from invalidator.templates.language import (
    EVENT,
    FILTERS,
    MAX_FILTERS,
    MAX_LISTS,
    MAX_QUOTES,
    MAX_STEPS,
    ROOTS,
    Filter,
    Path,
    Slot,
    Step,
    Template,
    TemplateError,
    parse,
)

__all__ = [
    "EVENT",
    "FILTERS",
    "MAX_FILTERS",
    "MAX_LISTS",
    "MAX_QUOTES",
    "MAX_STEPS",
    "ROOTS",
    "Filter",
    "Path",
    "Slot",
    "Step",
    "Template",
    "TemplateError",
    "parse",
]
