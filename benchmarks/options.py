"""How large a benchmark is to be: as its page says, or just large enough to see that it works."""

import argparse
from collections.abc import Sequence


def sizes(
    about: str | None, words: Sequence[str] | None, **sizes: tuple[float, float]
) -> argparse.Namespace:
    """Each size is an option of its name: what it is as a rule, and with `--quick`."""
    options = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--quick", action="store_true", help="small: that it works, not how fast")
    for name, (usual, quick) in sizes.items():
        flag = f"--{name.replace('_', '-')}"
        options.add_argument(flag, type=type(usual), help=f"default {usual:,}, quick {quick:,}")
    asked = options.parse_args(words)
    for name, (usual, quick) in sizes.items():
        if getattr(asked, name) is None:
            setattr(asked, name, quick if asked.quick else usual)
    return asked
