"""Plots as SVG, without a library: points in time, in colours, over shaded spans."""

from __future__ import annotations

from collections.abc import Sequence

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
