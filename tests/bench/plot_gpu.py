#!/usr/bin/env python3
"""The plots of docs/performance.md, from what `./do bench-gpu` and `./do bench-gpu lengths` printed.

    ./do bench-gpu >docs/performance/gpu.txt; ./do bench-gpu lengths >docs/performance/gpu-lengths.tsv
    tests/bench/plot_gpu.py docs/performance
"""
import csv
import math
import pathlib
import re
import sys

MILLION = 1 << 20

# mamba-ssm 2.3.2 on another H200: tokens, ms forward, ms forward and backward.
PEER_SCAN = [(1 << 14, 0.191, 1.14), (MILLION, 11.5, 72.1)]
PEER_MODEL = 8.3  # M tokens/s at 2^20

# ms at 2^20 tokens at the least. Of memory: the bytes at 4.256 TB/s, what a copy reaches. Of exponentials: those of the
# special-function units at 4.04 T a second.
EXPONENTIAL = MILLION * 512 / 4.04e12 * 1e3
LIMITS = {
    "selective_scan forward": ("selective_scan, B 1, L 2^20, D 512", "forward", EXPONENTIAL * (2 * 16 + 4)),
    "selective_scan backward": ("selective_scan, B 1, L 2^20, D 512", "backward", EXPONENTIAL * (3 * 16 + 11)),
    "causal_conv1d forward": ("causal_conv1d", "forward", 0.505),
    "causal_conv1d backward": ("causal_conv1d", "backward", 0.757),
    "add_rms_norm forward": ("add_rms_norm", "forward", 0.757),
    "add_rms_norm backward": ("add_rms_norm", "backward", 0.757),
    "embed_tokens forward": ("embed_tokens", "forward", 0.126),
}

WIDTH, HEIGHT, LEFT, BOTTOM = 640, 360, 60, 50
COLOURS = ["#1f6feb", "#d1495b", "#8a8f98"]


def svg(title: str, parts: list[str]) -> str:
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<title>{title}</title>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="22" font-size="14" font-weight="bold">{title}</text>', *parts, "</svg>", ""])


def lines(title: str, unit: str, series: dict[str, list[tuple[float, float]]], points: dict[str, list[tuple[float, float]]]) -> str:
    """Both axes logarithmic; x in tokens."""
    values = [y for of in (*series.values(), *points.values()) for _, y in of]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    xs = [x for of in series.values() for x, _ in of]
    first, last = math.log2(min(xs)), math.log2(max(xs))
    place = lambda x, y: (LEFT + (math.log2(x) - first) / (last - first) * (WIDTH - LEFT - 150),
                          HEIGHT - BOTTOM - (math.log10(y) - low) / (high - low) * (HEIGHT - BOTTOM - 45))
    parts = []
    for power in range(round(first), round(last) + 1, 2):
        x, y = place(2 ** power, 10 ** low)
        parts.append(f'<text x="{x:.1f}" y="{y + 18:.1f}" text-anchor="middle">2<tspan dy="-5" font-size="9">{power}</tspan></text>')
    for power in range(low, high + 1):
        for step in (1, 2, 5) if power < high else (1,):
            x, y = place(2 ** first, step * 10 ** power)
            parts.append(f'<line x1="{x}" x2="{WIDTH - 150}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e4e6ea"/>')
            parts.append(f'<text x="{x - 6}" y="{y + 4:.1f}" text-anchor="end">{step * 10 ** power:g}</text>')
    parts.append(f'<text x="{(LEFT + WIDTH - 150) / 2}" y="{HEIGHT - 10}" text-anchor="middle">tokens of one sequence</text>')
    parts.append(f'<text x="14" y="{HEIGHT / 2}" transform="rotate(-90 14 {HEIGHT / 2})" text-anchor="middle">{unit}</text>')
    for colour, (name, of) in zip(COLOURS, series.items()):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*p) for p in of))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        x, y = place(*of[-1])
        parts.append(f'<text x="{x + 8:.1f}" y="{y + 4:.1f}" fill="{colour}">{name}</text>')
    for colour, (name, of) in zip(COLOURS, points.items()):
        for p in of:
            x, y = place(*p)
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="white" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{x + 8:.1f}" y="{y + 4:.1f}" fill="{colour}">{name}</text>')
    return svg(title, parts)


def bars(title: str, shares: dict[str, float]) -> str:
    parts = []
    for i, (name, share) in enumerate(shares.items()):
        y = 50 + i * (HEIGHT - 80) / len(shares)
        long = share * (WIDTH - 260)
        parts.append(f'<text x="190" y="{y + 16:.1f}" text-anchor="end">{name}</text>')
        parts.append(f'<rect x="200" y="{y:.1f}" width="{WIDTH - 260}" height="22" fill="#eef0f3"/>')
        parts.append(f'<rect x="200" y="{y:.1f}" width="{long:.1f}" height="22" fill="{COLOURS[0]}"/>')
        parts.append(f'<text x="{WIDTH - 52}" y="{y + 16:.1f}">{100 * share:.0f} %</text>')
    return svg(title, parts)


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    text = (folder / "gpu.txt").read_text()
    with open(folder / "gpu-lengths.tsv") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file, delimiter="\t")]
    rate = lambda ms, tokens: tokens / ms / 1e3
    both = [(r["tokens"], rate(r["scan_forward_ms"] + r["scan_backward_ms"], r["tokens"])) for r in rows]
    (folder / "gpu-scan.svg").write_text(lines(
        "Selective scan, 512 channels, 16 states, bfloat16", "million tokens a second",
        {"forward": [(r["tokens"], rate(r["scan_forward_ms"], r["tokens"])) for r in rows], "forward + backward": both},
        {"mamba-ssm, forward": [(n, rate(f, n)) for n, f, _ in PEER_SCAN],
         "mamba-ssm, both": [(n, rate(b, n)) for n, _, b in PEER_SCAN]}))
    (folder / "gpu-model.svg").write_text(lines(
        "Inference, Mamba-1, 8 layers of 256, bfloat16", "million tokens a second",
        {"dnamamba": [(r["tokens"], rate(r["model_ms"], r["tokens"])) for r in rows]}, {"mamba-ssm": [(MILLION, PEER_MODEL)]}))
    shares = {}
    for name, (operator, direction, least) in LIMITS.items():
        line = next(l for l in text.splitlines() if l.strip().startswith(operator))
        shares[name] = least / float(re.search(direction + r"\s+([0-9.]+) ms", line)[1])
    (folder / "gpu-limits.svg").write_text(bars("Least possible time over time taken, 2^20 tokens", shares))


if __name__ == "__main__":
    main()
