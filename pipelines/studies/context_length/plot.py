#!/usr/bin/env python3
"""The plots of the study, FOLDER/context-length.svg and -gain.svg, from FOLDER/context-length.tsv.

    pipelines/studies/context_length/plot.py docs/studies
"""
import csv
import math
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "tests/bench"))
from plot_gpu import BOTTOM, COLOURS, HEIGHT, LEFT, WIDTH, svg  # noqa: E402

RIGHT, TOP = 170, 45
DASHES = {"true": "", "shuffled": "6 4", "elsewhere": "2 3"}
LABELS = {"true": "true context", "shuffled": "shuffled", "elsewhere": "from elsewhere"}


def power_of_2(bases: int) -> str:
    if bases & (bases - 1):
        return f"{bases:,}"
    return f'2<tspan dy="-5" font-size="9">{bases.bit_length() - 1}</tspan><tspan dy="5"> </tspan>'


def step_of(span: float) -> float:
    """Of some five lines on an axis: 1, 2 or 5 times a power of 10."""
    least = span / 6
    power = 10 ** math.floor(math.log10(least))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= least)


class Axes:
    def __init__(self, xs: list[int], low: float, high: float) -> None:
        self.first, self.last = math.log2(min(xs)), math.log2(max(xs))
        self.step = step_of(max(high - low, 1e-6))
        self.low, self.high = (math.floor(low / self.step) * self.step, math.ceil(high / self.step) * self.step)

    def x(self, bases: float) -> float:
        return LEFT + (math.log2(bases) - self.first) / max(self.last - self.first, 1) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (value - self.low) / (self.high - self.low) * (HEIGHT - BOTTOM - TOP)

    def parts(self, xs: list[int], unit: str) -> list[str]:
        parts = []
        for x in xs:
            parts.append(f'<text x="{self.x(x):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{power_of_2(x)}</text>')
        decimals = max(0, -math.floor(math.log10(self.step)))
        for i in range(round((self.high - self.low) / self.step) + 1):
            value = self.low + i * self.step
            y = self.y(value)
            parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e4e6ea"/>')
            parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.{decimals}f}</text>')
        middle = (LEFT + WIDTH - RIGHT) / 2
        parts.append(f'<text x="{middle}" y="{HEIGHT - 10}" text-anchor="middle">bases of context</text>')
        parts.append(f'<text x="14" y="{HEIGHT / 2}" transform="rotate(-90 14 {HEIGHT / 2})" text-anchor="middle">{unit}</text>')
        return parts


def key(trained: list[str], kinds: list[str]) -> list[str]:
    """What colours and dashes stand for."""
    left, y, parts = WIDTH - RIGHT + 14, TOP + 10, ['<text x="%d" y="%d">trained on contexts of</text>' % (WIDTH - RIGHT + 14, TOP + 10)]
    for text, colour, dash in ([(power_of_2(int(t)), COLOURS[i % len(COLOURS)], "") for i, t in enumerate(trained)]
                               + [(LABELS[k], "#57606a", DASHES[k]) for k in kinds]):
        y += 20
        parts.append(f'<line x1="{left}" x2="{left + 26}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>')
        parts.append(f'<text x="{left + 34}" y="{y + 4}">{text}</text>')
    return parts


def plot(title: str, unit: str, rows: list[dict[str, str]], value: str, error: str, times: float = 1) -> str:
    """Lines of values `times` as large, with bars of one standard error up and down, side by side."""
    xs = sorted({int(r["context"]) for r in rows})
    level = lambda r: times * float(r[value])
    spread = lambda r: times * float(r[error]) if math.isfinite(float(r[error])) else 0.0
    axes = Axes(xs, min(level(r) - spread(r) for r in rows), max(level(r) + spread(r) for r in rows))
    trained = list(dict.fromkeys(r["trained_on"] for r in rows))
    kinds = list(dict.fromkeys(r["kind"] for r in rows))
    parts = axes.parts(xs, unit)
    for i, t in enumerate(trained):
        colour = COLOURS[i % len(COLOURS)]
        for j, kind in enumerate(kinds):
            aside = 3 * (i * len(kinds) + j - (len(trained) * len(kinds) - 1) / 2)
            of = sorted((r for r in rows if r["trained_on"] == t and r["kind"] == kind), key=lambda r: int(r["context"]))
            places = [(axes.x(int(r["context"])), level(r), spread(r)) for r in of]
            path = " ".join(f"{x:.1f},{axes.y(y):.1f}" for x, y, _ in places)
            parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{DASHES[kind]}"/>')
            parts += [f'<line x1="{x + aside:.1f}" x2="{x + aside:.1f}" y1="{axes.y(y - e):.1f}" y2="{axes.y(y + e):.1f}" stroke="{colour}"/>'
                      for x, y, e in places]
    return svg(title, parts + key(trained, kinds))


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    with open(folder / "context-length.tsv") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    windows = rows[0]["windows"]
    (folder / "context-length.svg").write_text(plot(
        f"Held-out DNA, {windows} windows", "bits per base", rows, "bits_per_base", "standard_error"))
    (folder / "context-length-gain.svg").write_text(plot(
        f"Held-out DNA, {windows} windows: saved against the shortest context", "millibits per base",
        rows, "gain", "gain_error", times=1000))


if __name__ == "__main__":
    main()
