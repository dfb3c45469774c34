"""What `mkdocs.yml` needs so that the site consists of the files that a forge shows."""

import re
from pathlib import Path
from typing import Any

TOP = Path(__file__).parents[1]
OUTSIDE = {"index.md": "README.md", "changelog.md": "CHANGELOG.md"}


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are outside of docs/."""
    from mkdocs.structure.files import File

    for name, outside in OUTSIDE.items():
        text = (TOP / outside).read_text(encoding="utf-8")
        content = re.sub(r"(?<=\]\()docs/", "", text).replace("](CHANGELOG.md", "](changelog.md")
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Drop the tests' marks after a fence's language, and correct links to the pages above."""
    markdown = re.sub(r"^( *```\w+) .*$", r"\1", markdown, flags=re.MULTILINE)
    for name, outside in OUTSIDE.items():
        markdown = markdown.replace(f"](../{outside}", f"]({name}")
    return markdown
