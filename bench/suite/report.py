"""What a bench measured: rows with a median, a spread and a verdict; as a table, JSON and CSV."""

import csv
import dataclasses
import json
import statistics

BELOW_GOAL = "below goal"
WRONG = "WRONG"


@dataclasses.dataclass
class Row:
    """One comparison. Every number is one run, in the order in which they were made; those of the
    two sides alternate."""

    name: str
    title: str
    unit: str  # "/s", "B", "B/s", "s" or "us"
    ours: list = dataclasses.field(default_factory=list)
    peer: list = dataclasses.field(default_factory=list)
    peer_name: str = ""
    goal: float = None  # of our median; or of the ratio, where there is `goal_is_ratio`
    goal_is_ratio: bool = False
    less_is_better: bool = False
    error: str = ""
    notes: dict = dataclasses.field(default_factory=dict)

    @property
    def ours_median(self):
        return statistics.median(self.ours) if self.ours else None

    @property
    def peer_median(self):
        return statistics.median(self.peer) if self.peer else None

    @property
    def ratio(self):
        return self.ours_median / self.peer_median if self.ours and self.peer else None

    @property
    def spread(self):
        """The larger of both sides' distance between the extremes, as a part of the median."""
        sides = [side for side in (self.ours, self.peer) if len(side) > 1]
        parts = [(max(side) - min(side)) / statistics.median(side) for side in sides]
        return max(parts, default=None)

    @property
    def verdict(self):
        if self.error:
            return WRONG
        value = self.ratio if self.goal_is_ratio else self.ours_median
        if self.goal is None or value is None:
            return ""
        reached = value <= self.goal if self.less_is_better else value >= self.goal
        return "reached" if reached else BELOW_GOAL

    def goal_text(self):
        if self.goal is None:
            return ""
        sign = "≤" if self.less_is_better else "≥"
        value = f"{self.goal:.3g} ×" if self.goal_is_ratio else number_text(self.goal, self.unit)
        return f"{sign} {value}"

    def cells(self):
        peer = number_text(self.peer_median, self.unit)
        return [
            self.title,
            number_text(self.ours_median, self.unit),
            f"{peer} ({self.peer_name})" if self.peer else "",
            f"{self.ratio:.2f} ×" if self.ratio is not None else "",
            self.goal_text(),
            f"{self.spread:.0%}" if self.spread is not None else "",
            self.verdict,
        ]

    def document(self):
        return {
            **dataclasses.asdict(self),
            "ours_median": self.ours_median,
            "peer_median": self.peer_median,
            "ratio": self.ratio,
            "spread": self.spread,
            "verdict": self.verdict,
        }


HEADINGS = ["What", "orderd", "Peer", "Ratio", "Goal", "Spread", ""]


def number_text(value, unit):
    """Three digits that count, with a unit."""
    if value is None:
        return ""
    if unit == "s":
        return f"{value:.2f} s"
    if unit == "us":
        return f"{value:,.0f} µs"
    if unit == "B":
        return f"{value:,.0f} B"
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            digits = ".0f" if value >= 100 * limit else ".3g"
            return f"{value / limit:{digits}} {letter}{unit}"
    return f"{value:.3g} {unit}"


def plain_table(headings, lines):
    """Columns in line, for a terminal."""
    lines = [headings, *lines]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    made = []
    for line in lines:
        cells = [line[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:])]
        made.append("  ".join(cells).rstrip())
    made.insert(1, "-" * len(made[0]))
    return "\n".join(made)


def markdown_table(headings, lines):
    made = ["| " + " | ".join(headings) + " |", "|" + " --- |" * len(headings)]
    made += ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join(made)


def write_json(path, machine, rows, tables):
    document = {
        "machine": machine,
        "rows": [row.document() for row in rows],
        "tables": {name: table for name, table in tables.items()},
    }
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def write_csv(path, rows):
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "unit", "side", "run", "value"])
        for row in rows:
            for side, values in (("orderd", row.ours), (row.peer_name, row.peer)):
                for run, value in enumerate(values, 1):
                    writer.writerow([row.name, row.unit, side, run, f"{value:.6g}"])
