"""absolute_links.py FOLDER: make the links in its README.md absolute.

A package index shows the README without the files beside it. The links then lead to the files of
the version's tag. Links in the repository itself stay relative, so that they work in every clone.
"""

import re
import sys
import tomllib
from pathlib import Path

_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)\s]+)")


def absolute(text: str, source: str, version: str) -> str:
    def whole(link: re.Match[str]) -> str:
        kind = "raw" if link[1].endswith(".svg") else "blob"  # an image, not the page about it
        return f"{source}/{kind}/v{version}/{link[1]}"

    return _LINK.sub(whole, text)


def main(folder: Path) -> None:
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    code = (folder / "invalidator" / "__init__.py").read_text()
    version = code.partition('__version__ = "')[2].partition('"')[0]
    readme = folder / "README.md"
    readme.write_text(absolute(readme.read_text(), project["urls"]["Source"], version))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
