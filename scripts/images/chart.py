"""Draw docs/images/performance.svg from the table in docs/performance.md.

python -m scripts.images.chart
"""

import re
from pathlib import Path

TOP = Path(__file__).parents[2]
PAGE = TOP / "docs" / "performance.md"
PICTURE = TOP / "docs" / "images" / "performance.svg"
SHOWN = {"b": "Python, by hand", "g": "Go, by hand", "h": "invalidator"}
LEFT, WIDTH, BAR, STEP, TOP_EDGE = 150, 440, 30, 46, 40

STYLE = """\
<style>
  text { font: 14px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2933; }
  .small { font-size: 12px; fill: #52606d; }
  .bar { fill: #9aa5b1; }
  .ours { fill: #2680c2; }
  .bold { font-weight: 600; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e4e7eb; }
    .small { fill: #9aa5b1; }
    .bar { fill: #616e7c; }
    .ours { fill: #4098d7; }
  }
</style>"""


def rates(page: str) -> dict[str, int]:
    """Return the events per second of each contender, by its letter."""
    rows = re.findall(r"^\| (\w)\) [^|]+\| ([\d,]+) \|", page, re.MULTILINE)
    return {letter: int(rate.replace(",", "")) for letter, rate in rows}


def chart(page: str) -> str:
    """Return the chart as SVG."""
    found = rates(page)
    title = "Events per second, each reading the same topic: " + ", ".join(
        f"{name} {found[letter]:,}" for letter, name in SHOWN.items()
    )
    height = TOP_EDGE + STEP * len(SHOWN) + 6
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 680 {height}" width="680" '
        f'height="{height}" role="img" aria-label="{title}">',
        f"<title>{title}</title>",
        STYLE,
        f'<text class="small" x="{LEFT}" y="24">events per second, higher is better</text>',
    ]
    most = max(found[letter] for letter in SHOWN)
    for number, (letter, name) in enumerate(SHOWN.items()):
        y, width = TOP_EDGE + number * STEP, round(found[letter] / most * WIDTH)
        ours = letter == "h"
        middle, bold = y + BAR // 2 + 5, ' class="bold"' if ours else ""
        lines += [
            f'<text{bold} x="{LEFT - 12}" y="{middle}" text-anchor="end">{name}</text>',
            f'<rect class="{"ours" if ours else "bar"}" x="{LEFT}" y="{y}" width="{width}" '
            f'height="{BAR}" rx="3"/>',
            f'<text{bold} x="{LEFT + width + 10}" y="{middle}">{found[letter]:,}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])


if __name__ == "__main__":
    PICTURE.write_text(chart(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
