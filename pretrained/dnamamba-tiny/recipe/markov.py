#!/usr/bin/env python3
"""Markov models to compare dnamamba-tiny with, on the same bases: markov.py OUT

OUT is what split.py made. Writes OUT/markov.tsv and OUT/markov.json: bits per base of each
held-out file under interpolated Markov models of several orders, once trained on all training
files together (the bases of the neural model) and once on the file's own group alone.

The model. Counts come from both strands of the training files. Order k adds a_k pseudo-counts,
shared out as order k - 1 predicts:

    p_k(x | c) = (n(c, x) + a_k p_{k-1}(x | c')) / (n(c) + a_k),    c' = c without its first base

and order 0 is below a uniform distribution. Each a_k is the value of PSEUDO_COUNTS with the least
loss on the validation records of the group (VALIDATION: training records, held out of the counts
only while a_k is chosen; the held-out files have no part in it), order by order from 0 up.

The bases. Every A, C, G or T after the first base of each record, forward strand. A context that
would reach over another letter, or before the record's start, falls back to the longest that does not.

Needs Python 3, NumPy, the `zstd` program, 5 GB of memory and some minutes.
"""

import argparse
import json
import pathlib
import subprocess
from dataclasses import dataclass

import numpy as np

HIGHEST = 12  # 4^13 counts of 4 bytes: 268 MB
VALIDATION_BASES = 1_500_000  # predicted while a_k is chosen, shared out among the validation records
REPORTED = (0, 1, 2, 3, 4, 5, 6, 8, 10, 11, 12)
PSEUDO_COUNTS = tuple(4.0**power for power in range(-1, 17))

# Chosen as the held-out files are: bacteria by genus, yeast by chromosome, human by region.
VALIDATION = {
    "bacteria": ("Acinetobacter_", "Chlamydia_", "Mycobacterium_", "Roseobacter_", "Staphylococcus_"),
    "yeast": ("_chrIV:",),
    "human": ("|20:10750000-",),
}

CODE_OF_BYTE = np.full(256, 4, np.uint8)
for code, letter in enumerate("ACGT"):
    CODE_OF_BYTE[[ord(letter), ord(letter.lower())]] = code


def read_records(path):
    """(name, codes) of each record of a .fa.zst file; codes are 0..3 for A, C, G, T and 4 for the rest."""
    with open(path, "rb") as file:
        text = subprocess.run(["zstd", "-dc", "--long=27"], stdin=file, stdout=subprocess.PIPE, check=True).stdout
    for record in text[1:].split(b"\n>"):
        header, _, lines = record.partition(b"\n")
        yield header.split()[0].decode(), CODE_OF_BYTE[np.frombuffer(lines.replace(b"\n", b""), np.uint8)]


def words(codes, length):
    """Base-4 number of the `length` bases that end at each position (from length - 1 on)."""
    count = len(codes) - length + 1
    number = np.zeros(max(count, 0), np.int32)
    for offset in range(length if count > 0 else 0):
        number <<= 2
        number |= codes[offset : offset + count] & 3
    return number


def known_run(codes):
    """Number of consecutive A, C, G, T that end at each position, itself included; 0 at any other letter."""
    position = np.arange(len(codes))
    last_other = np.maximum.accumulate(np.where(codes > 3, position, -1))
    return position - last_other


def count_words(records):
    """Counts of all words of HIGHEST + 1 bases on both strands: int32 of 4^(HIGHEST + 1)."""
    length = HIGHEST + 1
    counts = np.zeros(4**length, np.int32)
    step = 1 << 25
    for _, codes in records:
        for start in range(0, len(codes), step):
            piece = codes[start : start + step + length - 1]
            known = known_run(piece)[length - 1 :] >= length
            counts += np.bincount(words(piece, length)[known], minlength=4**length).astype(np.int32)
    # Complement is 3 - code, and reversing a word reverses the axes.
    by_base = counts.reshape((4,) * length)
    return (by_base + np.flip(by_base.T)).reshape(-1)


@dataclass
class Model:
    """Counts of orders 0 to HIGHEST: `words[k]` is an array of 4^k contexts by 4 bases."""

    words: list

    @classmethod
    def of(cls, counts):
        tables = [counts.reshape(-1, 4)]
        for _ in range(HIGHEST):
            tables.append(tables[-1].reshape(4, -1).sum(axis=0).reshape(-1, 4))
        return cls([table.astype(np.float32) if table.size < 1 << 24 else table for table in tables[::-1]])


@dataclass
class Text:
    """What there is to predict: per order, which bases have a whole context, and their counts under a model."""

    bases: int
    orders: list  # of (rows into the text's bases, n(c, x), n(c))

    @classmethod
    def of(cls, records, model):
        parts = [[] for _ in range(HIGHEST + 1)]
        bases = 0
        for _, codes in records:
            run = known_run(codes)
            predicted = np.flatnonzero((run >= 1) & (np.arange(len(codes)) >= 1))
            for order in range(HIGHEST + 1):
                rows = np.flatnonzero(run[predicted] > order)
                ends = predicted[rows]
                word = words(codes, order + 1)[ends - order]
                table = model.words[order]
                seen = table.reshape(-1)[word].astype(np.float64)
                total = table[word >> 2].sum(axis=1, dtype=np.float64)
                parts[order].append((rows + bases, seen, total))
            bases += len(predicted)
        return cls(bases, [tuple(np.concatenate(column) for column in zip(*part)) for part in parts])

    def step(self, order, pseudo_count, below):
        """Probabilities of order `order`, given those of the order below."""
        rows, seen, total = self.orders[order]
        above = below.copy()
        above[rows] = (seen + pseudo_count * below[rows]) / (total + pseudo_count)
        return above


def bits(probabilities):
    return float(-np.log2(probabilities).mean())


def choose_pseudo_counts(text):
    """a_0 ... a_HIGHEST with the least loss on `text`, chosen order by order."""
    chosen = []
    below = np.full(text.bases, 0.25)
    for order in range(HIGHEST + 1):
        losses = [bits(text.step(order, pseudo_count, below)) for pseudo_count in PSEUDO_COUNTS]
        chosen.append(PSEUDO_COUNTS[int(np.argmin(losses))])
        below = text.step(order, chosen[-1], below)
    return chosen


def bits_by_order(text, pseudo_counts):
    below = np.full(text.bases, 0.25)
    result = []
    for order, pseudo_count in enumerate(pseudo_counts):
        below = text.step(order, pseudo_count, below)
        result.append(bits(below))
    return result


def measure(out):
    """Rows of the table, one per held-out group, training set and order."""
    groups = sorted(path.name.removesuffix(".fa.zst") for path in (out / "train").glob("*.fa.zst"))
    training = {group: list(read_records(out / "train" / f"{group}.fa.zst")) for group in groups}
    counts = {group: count_words(training[group]) for group in groups}
    everything = sum(counts.values())

    rows = []
    for group, marks in VALIDATION.items():
        validation = [record for record in training[group] if any(mark in record[0] for mark in marks)]
        left_out = count_words(validation)
        most = VALIDATION_BASES // len(validation)
        beginnings = [(name, codes[:most]) for name, codes in validation]
        held_out = list(read_records(out / "held-out" / f"{group}.fa.zst"))
        for name, trained in (("all", everything), (group, counts[group])):
            pseudo_counts = choose_pseudo_counts(Text.of(beginnings, Model.of(trained - left_out)))
            text = Text.of(held_out, Model.of(trained))
            for order, value in enumerate(bits_by_order(text, pseudo_counts)):
                row = {
                    "held_out": group,
                    "trained_on": name,
                    "order": order,
                    "bits_per_base": round(value, 4),
                    "bases": text.bases,
                    "pseudo_count": pseudo_counts[order],
                }
                rows.append(row)
                if order in REPORTED:
                    print(f"{group}\t{name}\torder {order}\t{value:.4f} bits per base", flush=True)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    out = parser.parse_args().out

    rows = measure(out)
    (out / "markov.json").write_text(json.dumps({"models": rows}, indent=1) + "\n")
    with open(out / "markov.tsv", "w") as table:
        table.write("\t".join(rows[0]) + "\n")
        for row in rows:
            if row["order"] in REPORTED:
                table.write("\t".join(str(value) for value in row.values()) + "\n")


if __name__ == "__main__":
    main()
