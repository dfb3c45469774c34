"""What code for a template is written from: the lists it goes through, its lenient form."""

from msgspec.structs import replace

from invalidator.templates import Path, Slot, Template
from invalidator.templates.values import joined


def lists_of(slot: Slot) -> tuple[Path, ...]:
    return slot.source.lists() if isinstance(slot.source, Path) else ()


def chain(template: Template) -> list[Path]:
    """The lists that a template goes through, the outermost first."""
    found = {path: None for slot in template.slots() for path in lists_of(slot)}
    return sorted(found, key=lambda path: len(path.steps))


def lenient(template: Template) -> Template:
    """The same template, giving no name where a value is missing."""
    return Template(
        template.text,
        tuple(part if isinstance(part, str) else _lenient_slot(part) for part in template.parts),
    )


def _lenient_slot(slot: Slot) -> Slot:
    if isinstance(slot.source, Template):
        return replace(slot, source=lenient(slot.source))
    return slot if slot.default is not None or slot.source.lists() else replace(slot, optional=True)


def written(path: Path) -> str:
    """A path as an author writes it."""
    text = "" if path.root == "data" else path.root
    for step in path.steps:
        text = joined(text, step)
    return text
