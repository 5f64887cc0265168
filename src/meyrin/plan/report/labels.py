"""Where the names of points are written, so that none lies on another or on a point.

Each name goes beside its point, or further out with a line that leads to it; the first points come
first. In points of a picture, y downwards. Never draws.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

LETTER, LINE = 6.7, 14.0  # generous: fonts differ
AWAY = (2.0, 12.0, 22.0, 34.0, 48.0, 64.0)
ANGLES = (0, 180, 30, -30, 150, -150, 60, -60, 90, -90, 120, -120)

Box = tuple[float, float, float, float]
Spot = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Mark:
    """A point with its name. One without a name only takes its room."""

    x: float
    y: float
    radius: float
    text: str


@dataclass(frozen=True, slots=True)
class Label:
    """Where a name is written: its `align` end in width, its middle in height. `line` leads from
    the point to it, if it is not beside."""

    x: float
    y: float
    align: str
    line: tuple[float, float, float, float] | None


def lay(marks: Sequence[Mark], width: float, height: float) -> list[Label | None]:
    """A place for each name; None where there is none, or no name."""
    taken: list[Box] = []
    lines: list[list[Spot]] = []
    found: list[Label | None] = []
    for mark in marks:
        found.append(None)
        if not mark.text:
            continue
        for label, box in _places(mark):
            way = _way(label.line)
            if _inside(box, width, height) and _free(box, way, mark, marks, taken, lines):
                found[-1] = label
                taken.append(box)
                lines.append(way)
                break
    return found


def _places(mark: Mark) -> Iterator[tuple[Label, Box]]:
    """Where its name could be, the nearest first."""
    wide = LETTER * len(mark.text)
    for away in AWAY:
        for angle in ANGLES:
            if away == AWAY[0] and abs(angle) == 90:
                continue  # above and below is where lines of others have to pass
            dx, dy = math.cos(math.radians(angle)), -math.sin(math.radians(angle))
            from_middle = mark.radius + 1 + away
            x, y = mark.x + from_middle * dx, mark.y + from_middle * dy
            align = "left" if dx > 0.3 else "right" if dx < -0.3 else "center"
            left = x - {"left": 0.0, "center": wide / 2, "right": wide}[align]
            if abs(dx) <= 0.3:
                y += math.copysign(LINE / 2, dy)
            box = (left, y - LINE / 2, left + wide, y + LINE / 2)
            line = None
            if away > AWAY[0]:
                start = mark.x + mark.radius * dx, mark.y + mark.radius * dy
                end = mark.x + (from_middle - 2) * dx, mark.y + (from_middle - 2) * dy
                line = (*start, *end)
            yield Label(x, y, align, line), box


def _inside(box: Box, width: float, height: float) -> bool:
    return box[0] >= 0 and box[1] >= 0 and box[2] <= width and box[3] <= height


def _free(
    box: Box,
    way: Sequence[Spot],
    own: Mark,
    marks: Sequence[Mark],
    taken: Sequence[Box],
    lines: Sequence[Sequence[Spot]],
) -> bool:
    """Whether a name and its line lie on no point, no other name and no other line."""
    if any(_on_circle(box, mark) for mark in marks):
        return False
    if any(_meet(box, other) for other in taken):
        return False
    if any(_holds(box, spot) for line in lines for spot in line):
        return False
    return not any(_holds(other, spot) for other in taken for spot in way) and not any(
        math.hypot(x - mark.x, y - mark.y) < mark.radius
        for x, y in way
        for mark in marks
        if mark is not own and math.hypot(own.x - mark.x, own.y - mark.y) > own.radius
    )


def _way(line: tuple[float, float, float, float] | None) -> list[Spot]:
    """Spots on a line, close enough that nothing slips between them."""
    if line is None:
        return []
    count = max(2, int(math.hypot(line[2] - line[0], line[3] - line[1]) / 4))
    parts = [at / count for at in range(count + 1)]
    return [(line[0] + p * (line[2] - line[0]), line[1] + p * (line[3] - line[1])) for p in parts]


def _on_circle(box: Box, mark: Mark) -> bool:
    x = min(max(mark.x, box[0]), box[2])
    y = min(max(mark.y, box[1]), box[3])
    return math.hypot(x - mark.x, y - mark.y) < mark.radius


def _meet(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _holds(box: Box, spot: Spot) -> bool:
    return box[0] <= spot[0] <= box[2] and box[1] <= spot[1] <= box[3]
