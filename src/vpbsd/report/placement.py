"""Names beside points, so that none covers another name or point."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Text

__all__ = ["place_names"]

_GAP_PIXELS = 12.0
_STEPS = 24
_POINT_PIXELS = 7.0

Rectangle = tuple[float, float, float, float]


def place_names(
    axes: Axes,
    points: Sequence[tuple[float, float]],
    names: Sequence[str],
    styles: Sequence[dict[str, Any]],
) -> list[Text]:
    """Write a name beside each point; a thin line leads to one that had to move away.

    Places right and left of the point are tried from near to far, and the first is taken that
    covers no point and no earlier name, and lies inside the axes; where there is none, the one
    that covers least.

    Parameters
    ----------
    axes
        With limits, scales and layout settled: a change after this would undo it.
    points
        (x, y) in the axes' data.
    names, styles
        Text of each, and its options (colour, weight).

    Returns
    -------
    list of Text
        In the order of the names.
    """
    figure = axes.figure
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    pixels = axes.transData.transform(np.asarray(points, float)) if points else np.zeros((0, 2))
    taken: list[Rectangle] = [_around(x, y, _POINT_PIXELS, _POINT_PIXELS) for x, y in pixels]
    frame = axes.get_window_extent(renderer)
    inside = (frame.x0, frame.y0, frame.x1, frame.y1)
    back = axes.transData.inverted()
    texts: list[Text | None] = [None] * len(names)
    # From the top down, so that a stack of points gets its names in the same order.
    for index in sorted(range(len(names)), key=lambda i: -pixels[i][1]):
        text = axes.text(*points[index], names[index], va="center", **styles[index])
        size = text.get_window_extent(renderer)
        x, y = pixels[index]
        place = min(
            enumerate(_places(x, y, size.width, size.height)),
            key=lambda numbered: (round(_cost(numbered[1], taken, inside), 1), numbered[0]),
        )[1]
        taken.append(place)
        centre = (place[1] + place[3]) / 2
        text.set_position(tuple(back.transform((place[0], centre))))
        if abs(centre - y) > size.height / 2:
            end = place[0] if place[0] > x else place[2]
            (x0, y0), (x1, y1) = back.transform([(x, y), (end, centre)])
            axes.plot([x0, x1], [y0, y1], color="0.6", linewidth=0.5, zorder=1)
        texts[index] = text
    return [text for text in texts if text is not None]


def _places(x: float, y: float, width: float, height: float) -> Iterator[Rectangle]:
    """Yield rectangles right and left of a point, from near to far."""
    for step in range(_STEPS):
        for sign in (1, -1) if step else (1,):
            middle = y + sign * step * height * 0.55
            # Farther up or down, farther aside: the lines then fan out.
            aside = _GAP_PIXELS + 1.5 * step
            for left in (x + aside, x - aside - width):
                yield (left, middle - height / 2, left + width, middle + height / 2)


def _around(x: float, y: float, width: float, height: float) -> Rectangle:
    return (x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def _cost(place: Rectangle, taken: Sequence[Rectangle], inside: Rectangle) -> float:
    """Return the area (pixels) that a place covers of others or has outside."""
    own = (place[2] - place[0]) * (place[3] - place[1])
    return own - _common(place, inside) + sum(_common(place, other) for other in taken)


def _common(a: Rectangle, b: Rectangle) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return width * height if width > 0 and height > 0 else 0.0
