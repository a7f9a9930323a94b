"""Plots as SVG, without a library: points in time over shaded spans, bars, and rows of points.

    python bench/plots.py .cache/bench.json docs

draws what ``make bench`` has saved: for each part the ratios, with a line at each goal, as
``bench-PART.svg``. All servers of one size of room share a row.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 760, 340, 50, 40, 50
COLOURS = ("#1b6ca8", "#c8553d", "#3d8361", "#7b4b94", "#b8860b", "#555555")


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

    parts = _sheet(title, HEIGHT, LEFT)
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
    return "\n".join([*parts, *_key(kinds, LEFT, 150, HEIGHT), "</svg>\n"])


def _sheet(title: str, height: int, left: int) -> list[str]:
    """The beginning of an SVG."""
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}"'
        ' font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="{left}" y="22" font-size="14">{escape(title)}</text>',
    ]


def _key(kinds: Sequence[str], left: int, step: int, height: int) -> list[str]:
    """Which colour stands for which of ``kinds``."""
    return [
        f'<circle cx="{left + step * number}" cy="{height - 14}" r="5" fill="{COLOURS[number]}"/>'
        f'<text x="{left + step * number + 10}" y="{height - 10}">{escape(kind)}</text>'
        for number, kind in enumerate(kinds)
    ]


#: The height of a bar with the space below it, and where bars begin.
ROW, NAMES = 22, 400


def bars(title: str, rows: Sequence[tuple[str, float, float | None]]) -> str:
    """An SVG of ``rows``, each a name, a value and a goal, which is a line."""
    most = max(max(value, goal or 0.0) for _, value, goal in rows)
    height = TOP + ROW * len(rows) + 10
    parts = _sheet(title, height, 20)
    for number, (name, value, goal) in enumerate(rows):
        top, width = TOP + ROW * number, value / most * (WIDTH - NAMES - 20)
        parts.append(
            f'<text x="20" y="{top + 12}">{escape(name)}</text>'
            f'<rect x="{NAMES}" y="{top}" width="{width:.1f}" height="{ROW - 8}"'
            f' fill="{COLOURS[0]}"/>'
            f'<text x="{NAMES - 8}" y="{top + 12}" text-anchor="end">{value:.2f}</text>'
        )
        if goal is not None:
            at = NAMES + goal / most * (WIDTH - NAMES - 20)
            parts.append(
                f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{top - 4}" y2="{top + ROW - 4}"'
                f' stroke="{COLOURS[1]}" stroke-width="2"/>'
            )
    return "\n".join([*parts, "</svg>\n"])


#: What servers are called, where that is not what they are known as here.
CALLED = {"chatd.v1": "chatd", "stock": "Socket.IO", "stomp": "Web STOMP"}
#: Where rows of points begin, and the values that are marked on their axis, which is logarithmic.
ROWS, MARKS = 220, (1, 2, 5, 10, 20, 50)


def rows_of_points(
    title: str, rows: Mapping[str, Mapping[str, float]], goals: Mapping[str, float]
) -> str:
    """An SVG with a row for each of ``rows``: a point for each kind and its value; a line where the
    row has a goal."""
    kinds = list(dict.fromkeys(kind for row in rows.values() for kind in row))
    values = [value for row in rows.values() for value in row.values()]
    least, most = min([0.7, *values]) * 0.9, max([2.0, *values]) * 1.1
    height = TOP + ROW * len(rows) + BOTTOM

    def x(value: float) -> float:
        place = math.log(value / least) / math.log(most / least)
        return ROWS + place * (WIDTH - ROWS - 20)

    parts = _sheet(title, height, 20)
    for mark in (one for one in MARKS if one <= most):
        parts.append(
            f'<line x1="{x(mark):.1f}" x2="{x(mark):.1f}" y1="{TOP}" y2="{height - BOTTOM}"'
            f' stroke="#ccc"/><text x="{x(mark) - 4:.1f}" y="{height - BOTTOM + 16}">{mark}</text>'
        )
    for number, (name, row) in enumerate(rows.items()):
        middle = TOP + ROW * number + ROW // 2
        parts.append(f'<text x="20" y="{middle + 4}">{escape(name)}</text>')
        if name in goals:
            at = x(goals[name])
            parts.append(
                f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{middle - 9}" y2="{middle + 9}"'
                f' stroke="#000" stroke-width="2"/>'
            )
        for kind, value in row.items():
            colour = COLOURS[kinds.index(kind)]
            parts.append(
                f'<circle cx="{x(value):.1f}" cy="{middle}" r="5" fill="{colour}" opacity="0.8"/>'
            )
    return "\n".join([*parts, *_key(kinds, ROWS, 90, height), "</svg>\n"])


def _compared(title: str, figures: Sequence[dict[str, Any]]) -> str:
    """Servers beside each other; a figure's name is that of a row, a colon, and a server."""
    rows: dict[str, dict[str, float]] = {}
    goals: dict[str, float] = {}
    for figure in figures:
        row, _, server = figure["name"].partition(": ")
        if server:
            rows.setdefault(row, {})[CALLED.get(server, server)] = figure["ratio"]
            goals |= {row: figure["goal"]} if figure["goal"] is not None else {}
    return rows_of_points(title, rows, goals)


def main(saved: str, folder: str) -> None:
    """Draw all parts of a saved run that have ratios."""
    run = json.loads(Path(saved).read_text())
    figures = [figure for figure in run["figures"] if figure["ratio"] is not None]
    for part in dict.fromkeys(figure["part"] for figure in figures):
        ours = [figure for figure in figures if figure["part"] == part]
        if part == "fanout":
            picture = _compared(f"CPU of a delivery / {ours[0]['of']}'s. {run['machine']}", ours)
        else:
            rows = [(f"{f['name']} / {f['of']}", f["ratio"], f["goal"]) for f in ours]
            picture = bars(f"{part}: ratios, and goals. {run['machine']}", rows)
        Path(folder, f"bench-{part}.svg").write_text(picture)


if __name__ == "__main__":
    main(*sys.argv[1:])
