"""How long after a fault was mended all writers were acknowledged again, from histories.

    python -m tests.torture.recovery docs/recovery.svg cluster=run1.jsonl cluster=run2.jsonl

Prints a table (reStructuredText), and draws it.
"""

from __future__ import annotations

import sys
from bisect import bisect
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from tests.torture.history import Event, load

#: What is drawn: pixels for each second, and for each row.
SECOND, ROW, LEFT = 40, 22, 300

Times = Mapping[tuple[str, str], Sequence[float]]


def recoveries(events: Sequence[Event]) -> dict[str, list[float]]:
    """Seconds from the end of each fault to the first acknowledgement of the last writer to get
    one, by kind of fault. A fault after which a writer had none is left out."""
    stored: dict[str, list[float]] = defaultdict(list)
    for event in events:
        if event["e"] == "answer" and event["result"] == "stored":
            stored[event["user"]].append(event["t"])
    found: dict[str, list[float]] = defaultdict(list)
    for event in events:
        if event["e"] != "fault" or event["begins"]:
            continue
        places = [(times, bisect(times, event["t"])) for times in stored.values()]
        if all(place < len(times) for times, place in places):
            last = max(times[place] for times, place in places)
            found[event["what"]].append(last - event["t"])
    return found


def table(times: Times) -> str:
    """Rows of a list table."""
    rows = ['.. csv-table::\n   :header: "broker", "fault", "times", "median, s", "longest, s"\n']
    for (broker, fault), all_of_them in sorted(times.items()):
        figures = f"{len(all_of_them)}, {median(all_of_them):.2f}, {max(all_of_them):.1f}"
        rows.append(f'   "{broker}", "{fault}", {figures}')
    return "\n".join(rows)


def plot(times: Times) -> str:
    """The same as SVG: a line from the median to the longest."""
    widest = max(max(all_of_them) for all_of_them in times.values())
    width, height = LEFT + SECOND * (int(widest) + 2), ROW * (len(times) + 2)
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
        ' font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for second in range(0, int(widest) + 2, 5):
        x = LEFT + SECOND * second
        drawn.append(f'<path d="M{x} 0V{height - ROW}" stroke="#ddd"/>')
        drawn.append(f'<text x="{x}" y="{height - 6}" text-anchor="middle">{second} s</text>')
    for number, ((broker, fault), all_of_them) in enumerate(sorted(times.items())):
        y = ROW * (number + 1)
        middle, end = (LEFT + SECOND * s for s in (median(all_of_them), max(all_of_them)))
        drawn.append(f'<text x="8" y="{y + 4}">{broker}: {fault}</text>')
        drawn.append(f'<path d="M{middle:.0f} {y}H{end:.0f}" stroke="#59c" stroke-width="4"/>')
        drawn.append(f'<circle cx="{middle:.0f}" cy="{y}" r="5" fill="#036"/>')
    return "\n".join([*drawn, "</svg>\n"])


def main(arguments: Sequence[str]) -> None:
    """Read histories, print the table, draw the plot."""
    drawing, *histories = arguments
    times: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for history in histories:
        broker, _, path = history.partition("=")
        for fault, seconds in recoveries(list(load(Path(path)))).items():
            times[broker, fault] += seconds
    print(table(times))
    Path(drawing).write_text(plot(times))


if __name__ == "__main__":
    main(sys.argv[1:])
