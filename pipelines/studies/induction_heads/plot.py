#!/usr/bin/env python3
"""Accuracy against length, from the table that induction_heads wrote.

    pipelines/studies/induction_heads/plot.py table.tsv plot.svg
"""
import csv
import math
import pathlib
import sys

sys.path.append(str(pathlib.Path(__file__).resolve().parents[3] / "tests/bench"))
from plot_gpu import BOTTOM, COLOURS, HEIGHT, LEFT, WIDTH, svg  # noqa: E402

RIGHT, TOP = WIDTH - 30, 45


def plot(rows: list[tuple[int, float]], trained_at: int) -> str:
    first, last = (math.log2(of(length for length, _ in rows)) for of in (min, max))
    across = lambda length: LEFT + (math.log2(length) - first) / max(last - first, 1) * (RIGHT - LEFT)
    up = lambda accuracy: HEIGHT - BOTTOM - accuracy * (HEIGHT - BOTTOM - TOP)
    parts = []
    for percent in range(0, 101, 20):
        y = up(percent / 100)
        parts.append(f'<line x1="{LEFT}" x2="{RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e4e6ea"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{percent} %</text>')
    for length, _ in rows:
        parts.append(f'<text x="{across(length):.1f}" y="{up(0) + 18:.1f}" text-anchor="middle">2<tspan dy="-5" '
                     f'font-size="9">{math.log2(length):g}</tspan></text>')
    if first <= math.log2(trained_at) <= last:
        x = across(trained_at)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{up(0)}" y2="{up(1)}" stroke="{COLOURS[2]}" stroke-dasharray="4"/>')
        parts.append(f'<text x="{x + 6:.1f}" y="{up(0.5):.1f}" fill="{COLOURS[2]}">trained at this length</text>')
    chance = up(1 / 15)
    parts.append(f'<line x1="{LEFT}" x2="{RIGHT}" y1="{chance:.1f}" y2="{chance:.1f}" stroke="{COLOURS[1]}" stroke-dasharray="4"/>')
    parts.append(f'<text x="{RIGHT}" y="{chance - 5:.1f}" text-anchor="end" fill="{COLOURS[1]}">chance</text>')
    path = " ".join(f"{across(length):.1f},{up(accuracy):.1f}" for length, accuracy in rows)
    parts.append(f'<polyline points="{path}" fill="none" stroke="{COLOURS[0]}" stroke-width="2"/>')
    for length, accuracy in rows:
        parts.append(f'<circle cx="{across(length):.1f}" cy="{up(accuracy):.1f}" r="3.5" fill="{COLOURS[0]}"/>')
    parts.append(f'<text x="{(LEFT + RIGHT) / 2}" y="{HEIGHT - 10}" text-anchor="middle">tokens of a sequence</text>')
    return svg("Induction heads: right answers", parts)


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with open(sys.argv[1]) as file:
        table = list(csv.DictReader(file, delimiter="\t"))
    if not table:
        sys.exit(f"{sys.argv[1]}: no row; run the study again")
    rows = [(int(row["length"]), float(row["accuracy"])) for row in table]
    pathlib.Path(sys.argv[2]).write_text(plot(rows, int(table[0]["trained_at"])))


if __name__ == "__main__":
    main()
