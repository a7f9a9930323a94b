"""Plots as SVG, without a library: points in time over shaded spans, and bars.

    python bench/plots.py .cache/bench.json FOLDER

draws what ``make bench`` has saved: for each part the ratios, with a line at each goal.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from html import escape
from pathlib import Path

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 760, 340, 50, 40, 50
COLOURS = ("#1b6ca8", "#c8553d", "#3d8361", "#7b4b94")


def scatter(
    title: str,
    kinds: Sequence[str],
    points: Sequence[tuple[str, float, float]],
    spans: Sequence[tuple[float, float]],
) -> str:
    """An SVG of ``points``, each a kind, a time and a height, both in seconds; ``spans`` of time
    are shaded."""
    last = max([end for _, end in spans] + [at for _, at, _ in points] + [1.0])
    most = max([5.0, *(height for _, _, height in points)])

    def x(at: float) -> float:
        return LEFT + at / last * (WIDTH - LEFT - 20)

    def y(height: float) -> float:
        return HEIGHT - BOTTOM - height / most * (HEIGHT - BOTTOM - TOP)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}"'
        ' font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="{LEFT}" y="22" font-size="14">{title}</text>',
    ]
    for begin, end in spans:
        width = x(end) - x(begin)
        parts.append(
            f'<rect x="{x(begin):.1f}" y="{TOP}" width="{width:.1f}"'
            f' height="{HEIGHT - BOTTOM - TOP}" fill="#eee"/>'
        )
    for height in range(int(most) + 1):
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - 20}" y1="{y(height):.1f}" y2="{y(height):.1f}"'
            f' stroke="#ccc"/><text x="{LEFT - 18}" y="{y(height) + 4:.1f}">{height}</text>'
        )
    for second in range(0, int(last) + 1, 5):
        parts.append(f'<text x="{x(second) - 6:.1f}" y="{HEIGHT - BOTTOM + 18}">{second} s</text>')
    for kind, at, seconds in points:
        colour = COLOURS[kinds.index(kind)]
        parts.append(
            f'<circle cx="{x(at):.1f}" cy="{y(seconds):.1f}" r="3" fill="{colour}" opacity="0.6"/>'
        )
    for n, kind in enumerate(kinds):
        left = LEFT + 150 * n
        parts.append(
            f'<circle cx="{left}" cy="{HEIGHT - 14}" r="5" fill="{COLOURS[n]}"/>'
            f'<text x="{left + 10}" y="{HEIGHT - 10}">{kind}</text>'
        )
    return "\n".join([*parts, "</svg>\n"])


#: The height of a bar with the space below it, and where bars begin.
ROW, NAMES = 22, 380


def bars(title: str, rows: Sequence[tuple[str, float, float | None]]) -> str:
    """An SVG of ``rows``, each a name, a value and a goal, which is a line."""
    most = max(max(value, goal or 0.0) for _, value, goal in rows)
    height = TOP + ROW * len(rows) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}"'
        ' font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="20" y="22" font-size="14">{escape(title)}</text>',
    ]
    for number, (name, value, goal) in enumerate(rows):
        top, width = TOP + ROW * number, value / most * (WIDTH - NAMES - 60)
        parts.append(
            f'<text x="20" y="{top + 12}">{escape(name)}</text>'
            f'<rect x="{NAMES}" y="{top}" width="{width:.1f}" height="{ROW - 8}"'
            f' fill="{COLOURS[0]}"/>'
            f'<text x="{NAMES + width + 5:.1f}" y="{top + 12}">{value:.2f}</text>'
        )
        if goal is not None:
            at = NAMES + goal / most * (WIDTH - NAMES - 60)
            parts.append(
                f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{top - 4}" y2="{top + ROW - 4}"'
                f' stroke="{COLOURS[1]}" stroke-width="2"/>'
            )
    return "\n".join([*parts, "</svg>\n"])


def main(saved: str, folder: str) -> None:
    """Draw all parts of a saved run that have ratios."""
    run = json.loads(Path(saved).read_text())
    figures = [figure for figure in run["figures"] if figure["ratio"] is not None]
    for part in dict.fromkeys(figure["part"] for figure in figures):
        rows = [
            (f"{figure['name']} / {figure['of']}", figure["ratio"], figure["goal"])
            for figure in figures
            if figure["part"] == part
        ]
        picture = bars(f"{part}: ratios, and goals. {run['machine']}", rows)
        Path(folder, f"{part}.svg").write_text(picture)


if __name__ == "__main__":
    main(*sys.argv[1:])
