"""SVG plots of what was measured, written by hand: bars for comparisons, lines for growth."""

import html
import math

from suite import report

FONT = 'font-family="sans-serif" font-size="13"'
COLOURS = ["#1f77b4", "#d95f02", "#2ca02c", "#9467bd", "#8c564b"]
PEER_COLOUR = "#bbbbbb"
LABEL_HEIGHT = 17


def text(x, y, words, anchor="start", more=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {FONT} {more}>{html.escape(words)}</text>'


def document(width, height, parts):
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}">\n'
        f'<rect width="{width}" height="{height}" fill="white"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def comparisons(rows):
    """A pair of bars for each row with a peer; the longer bar of each pair has the same length."""
    rows = [row for row in rows if row.ratio is not None]
    left, length, step = 420, 300, 52
    parts = [text(10, 24, "orderd and its peers, medians", more='font-weight="bold"')]
    for number, row in enumerate(rows):
        y = 44 + number * step
        longest = max(row.ours_median, row.peer_median)
        parts.append(text(left - 12, y + 22, row.title, "end"))
        sides = [("orderd", row.ours_median, COLOURS[0]), (row.peer_name, row.peer_median, PEER_COLOUR)]
        for line, (name, value, colour) in enumerate(sides):
            width = max(1.0, length * value / longest)
            top = y + line * 19
            parts.append(f'<rect x="{left}" y="{top}" width="{width:.1f}" height="16" fill="{colour}"/>')
            label = f"{report.number_text(value, row.unit)} {name}"
            parts.append(text(left + width + 6, top + 13, label))
    return document(left + length + 220, 60 + len(rows) * step, parts)


def ticks(low, high):
    """Powers of ten that enclose the values."""
    return [10.0**power for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]


def spread_apart(places):
    """The places of labels, moved down where they would lie on one another."""
    spread = list(places)
    last = -LABEL_HEIGHT
    for number in sorted(range(len(places)), key=lambda number: places[number]):
        spread[number] = last = max(places[number], last + LABEL_HEIGHT)
    return spread


def lines(title, unit, x_label, series):
    """Lines over logarithmic axes. @param series name -> [(x, y)]."""
    width, height, left, top, right, bottom = 760, 420, 90, 50, 190, 60
    points = [point for line in series.values() for point in line]
    if not points:
        return document(width, height, [text(10, 24, f"{title}: nothing was measured")])
    xs = sorted({x for x, _ in points})
    y_ticks = ticks(min(y for _, y in points), max(y for _, y in points))
    inner_width, inner_height = width - left - right, height - top - bottom

    def place_x(x):
        span = math.log(xs[-1] / xs[0]) or 1
        return left + inner_width * math.log(x / xs[0]) / span

    def place_y(y):
        span = math.log(y_ticks[-1] / y_ticks[0]) or 1
        return top + inner_height * (1 - math.log(y / y_ticks[0]) / span)

    parts = [text(10, 24, title, more='font-weight="bold"')]
    for y in y_ticks:
        parts.append(f'<path d="M{left} {place_y(y):.1f}H{width - right}" stroke="#dddddd"/>')
        parts.append(text(left - 8, place_y(y) + 4, report.number_text(y, unit), "end"))
    for x in xs:
        parts.append(text(place_x(x), height - bottom + 20, f"{x:g}", "middle"))
    parts.append(text(left + inner_width / 2, height - 14, x_label, "middle"))
    label_y = spread_apart([place_y(line[-1][1]) for line in series.values()])
    for number, (name, line) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{place_x(x):.1f},{place_y(y):.1f}" for x, y in line)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for x, y in line:
            parts.append(f'<circle cx="{place_x(x):.1f}" cy="{place_y(y):.1f}" r="3" fill="{colour}"/>')
        parts.append(text(width - right + 12, label_y[number] + 4, name, more=f'fill="{colour}"'))
    return document(width, height, parts)
