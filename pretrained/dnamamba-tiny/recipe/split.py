#!/usr/bin/env python3
"""Makes the training and held-out files of dnamamba-tiny: split.py DATA_ROOT OUT

DATA_ROOT holds labels.tsv and the zstd-compressed FASTA files it lists (bacteria/, yeasts/,
eukaryotes/). Writes OUT/train/<group>.fa.zst, OUT/held-out/<group>.fa.zst and OUT/split.tsv.
The same input gives the same bases; nothing is drawn at random.

What keeps the held-out bases out of training:
  bacteria  by whole genus: no species of HELD_OUT_GENERA is trained on
  yeast     by chromosome number: HELD_OUT_YEAST_CHROMOSOME is left out of every strain of both species
  human     by region of chromosome 20, at least HUMAN_GAP bases away from any training region

Needs Python 3, NumPy and the `zstd` program.
"""

import argparse
import csv
import pathlib
import re
import subprocess
import sys
from dataclasses import dataclass

import numpy as np

HELD_OUT_GENERA = {"Corynebacterium", "Helicobacter", "Neisseria", "Streptococcus", "Vibrio"}
HELD_OUT_YEAST_CHROMOSOME = "VII"
HUMAN_GAP = 250_000

LONGEST_N_RUN = 1_000  # longer runs of N cut a sequence in two
SHORTEST_TRAINING_RECORD = 20_000
SHORTEST_HELD_OUT_RECORD = 100_000
MEBIBYTES_ALLOWED = 40  # compressed training files: they travel to the machine that trains

MEGABASE = 1_000_000


@dataclass
class Source:
    """Bases to take from one row of labels.tsv."""

    path: str
    strain: str = ""  # record prefix without the bar; empty where a file holds one organism
    most: int = 4 * MEGABASE  # bases, counted from the first record on
    regions: tuple = ((0, None),)  # of each record, 0-based, half-open
    only: str = ""  # regular expression that record names must contain
    but: str = ""  # regular expression that record names must not contain


def bacterium(species, strain, most=4 * MEGABASE):
    return Source(f"bacteria/{species}.fa.zst", strain, most)


def yeast(species, strain, most, held_out):
    chromosome = rf"_chr{HELD_OUT_YEAST_CHROMOSOME}$"
    wanted = {"only": chromosome} if held_out else {"but": chromosome}
    return Source(f"yeasts/{species}.fa.zst", strain, most, **wanted)


def human(*regions):
    return Source("eukaryotes/human_GRCh37_chr20.fa.zst", most=63 * MEGABASE, regions=regions)


# One strain a species, at most 4 Mb of a genome: a second strain would repeat what the first one taught.
TRAINING = {
    "bacteria": [
        bacterium("Acidilobus_saccharovorans", "345-15"),
        bacterium("Acinetobacter_baumannii", "ATCC19606"),
        bacterium("Bradyrhizobium_diazoefficiens", "USDA110"),
        bacterium("Caulobacter_crescentus", "NA1000"),
        bacterium("Chlamydia_trachomatis", "434Bu__GCF_002192615.1"),
        bacterium("Enterococcus_casseliflavus", "EC20"),
        bacterium("Enterococcus_faecalis", "ATCC19433"),
        bacterium("Enterococcus_faecium", "116"),
        bacterium("Escherichia_coli", "K12_MG1655"),
        bacterium("Glaesserella_parasuis", "D74"),
        bacterium("Haemophilus_influenzae", "Rd_KW20"),
        bacterium("Haemophilus_parainfluenzae", "NCTC10665"),
        bacterium("Klebsiella_pneumoniae", "HS11286", 3 * MEGABASE),
        bacterium("Methanobacterium_sp", "AL-21"),
        bacterium("Methanobacterium_sp", "MB1"),
        bacterium("Methanococcus_maripaludis", "S2"),
        bacterium("Methanothermobacter_thermautotrophicus", "DeltaH"),
        bacterium("Mycobacterium_smegmatis", "mc2_155", 3 * MEGABASE),
        bacterium("Mycobacterium_tuberculosis", "H37Rv", 3 * MEGABASE),
        bacterium("Mycoplasmoides_genitalium", "G37"),
        bacterium("Pseudomonas_aeruginosa", "UCBPP-PA14"),
        bacterium("Roseobacter_denitrificans", "OCh114"),
        bacterium("Salmonella_enterica", "LT2", 3 * MEGABASE),
        bacterium("Staphylococcus_aureus", "N315"),
        bacterium("Staphylococcus_epidermidis", "NBRC100911"),
        bacterium("Yersinia_kristensenii", "IP6945", 3 * MEGABASE),
    ],
    "yeast": [
        yeast("S_cerevisiae", "S288C", 12 * MEGABASE, held_out=False),
        yeast("S_paradoxus", "CBS432", 5 * MEGABASE, held_out=False),
    ],
    "human": [
        human((0, 9_250_000), (10_750_000, 20_000_000), (44_000_000, 57_000_000)),
    ],
    "eukaryotes": [
        Source("eukaryotes/arabidopsis_chr1.fa.zst", most=8 * MEGABASE),
        Source("eukaryotes/aspergillus_fumigatus_Af293.fa.zst", most=7 * MEGABASE),
        Source("eukaryotes/celegans_chrI.fa.zst", most=7 * MEGABASE),
        Source("eukaryotes/dictyostelium_chr1-6.fa.zst", most=5 * MEGABASE),
        Source("eukaryotes/fly_dm3_chr2R.fa.zst", most=8 * MEGABASE),
        Source("eukaryotes/plasmodium_falciparum_3D7.fa.zst", most=5 * MEGABASE),
    ],
}

HELD_OUT = {
    "bacteria": [
        bacterium("Corynebacterium_pseudotuberculosis", "CIP52.97", 500_000),
        bacterium("Helicobacter_pylori", "G27", 500_000),
        bacterium("Neisseria_gonorrhoeae", "FA6140", 500_000),
        bacterium("Streptococcus_pyogenes", "FDAARGOS_774", 500_000),
        bacterium("Vibrio_cholerae", "N16961", 500_000),
    ],
    "yeast": [
        yeast("S_cerevisiae", "S288C", 2 * MEGABASE, held_out=True),
        yeast("S_paradoxus", "CBS432", 2 * MEGABASE, held_out=True),
    ],
    # Short arm, long arm and the gene-rich end: one region alone would not speak for the chromosome.
    "human": [
        human((9_500_000, 10_500_000), (40_000_000, 41_000_000), (61_500_000, 62_500_000)),
    ],
}


def read_labels(root):
    """Rows of labels.tsv by (file, strain), without those whose label is disputed."""
    with open(root / "labels.tsv", newline="") as table:
        rows = csv.DictReader(table, delimiter="\t", quoting=csv.QUOTE_NONE)
        return {
            (row["file"], row["record_prefix"].rstrip("|")): row for row in rows if row["role"] != "label disputed"
        }


def read_fasta(path):
    """(name up to the first blank, upper-case sequence as bytes) of each record."""
    with open(path, "rb") as file:
        text = subprocess.run(["zstd", "-dc", "--long=27"], stdin=file, stdout=subprocess.PIPE, check=True).stdout
    for record in text[1:].split(b"\n>"):
        header, _, lines = record.partition(b"\n")
        yield header.split()[0].decode(), lines.replace(b"\n", b"").upper()


def without_n_runs(sequence):
    """(start, end) of the stretches between runs of N longer than LONGEST_N_RUN."""
    is_n = np.frombuffer(sequence, np.uint8) == ord("N")
    edges = np.flatnonzero(np.diff(np.concatenate(([0], is_n.astype(np.int8), [0]))))
    start = 0
    for run_start, run_end in zip(edges[::2].tolist(), edges[1::2].tolist()):
        if run_end - run_start > LONGEST_N_RUN or run_start == 0 or run_end == len(sequence):
            yield start, run_start
            start = run_end
    yield start, len(sequence)


def take(source, records, shortest):
    """(record name, start, sequence) of the pieces of `source`, `source.most` bases at most."""
    left = source.most
    for name, sequence in records:
        if source.strain and not name.startswith(source.strain + "|"):
            continue
        if source.only and not re.search(source.only, name) or source.but and re.search(source.but, name):
            continue
        for region_start, region_end in source.regions:
            region = sequence[region_start:region_end]
            for start, end in without_n_runs(region):
                end = min(end, start + left)
                if end - start >= shortest:
                    left -= end - start
                    yield name, region_start + start, region[start:end]


def accession_of(row, record):
    """The record's own accession where its name is one; the row's otherwise."""
    own = re.search(r"(?:N[CZ]_)?[A-Z]{1,4}\d{5,}\.\d+|NC_\d{6}\.\d+", record.partition("|")[2] or record)
    return own.group(0) if own else row["accession"]


def write_group(root, out, role, group, sources, labels, shortest):
    """One compressed FASTA file of `sources`. Returns its rows of split.tsv."""
    relative = f"{role}/{group}.fa.zst"
    plain = out / role / f"{group}.fa"
    rows = []
    with open(plain, "wb") as fasta:
        for source in sources:
            label = labels[source.path, source.strain]
            if (role == "train") and label["species"].split()[0] in HELD_OUT_GENERA:
                sys.exit(f"split.py: {source.path} {source.strain}: its genus is held out: remove it from TRAINING")
            species = label["species"].replace(" ", "_")
            taken = 0
            for name, start, sequence in take(source, read_fasta(root / source.path), shortest):
                record = f"{species}|{name}:{start}-{start + len(sequence)}"
                # One line a record: a newline in a block costs zstd's Huffman code a fifth symbol, 5 to 7 % in size.
                fasta.write(b">" + record.encode() + b"\n" + sequence + b"\n")
                rows.append([relative, record, role, len(sequence), accession_of(label, name), label["licence"]])
                taken += len(sequence)
            if taken == 0:
                sys.exit(f"split.py: {source.path} {source.strain}: no record of at least {shortest} bases")
    subprocess.run(["zstd", "-q", "-f", "--rm", "-19", str(plain)], check=True)
    return rows


def check_human_gap():
    """No training region of chromosome 20 may come within HUMAN_GAP of a held-out one."""
    for start, end in TRAINING["human"][0].regions:
        for held_start, held_end in HELD_OUT["human"][0].regions:
            if start < held_end + HUMAN_GAP and held_start < end + HUMAN_GAP:
                sys.exit(f"split.py: training region {start}-{end} is too close to held-out {held_start}-{held_end}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_root", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    arguments = parser.parse_args()

    check_human_gap()
    labels = read_labels(arguments.data_root)
    rows = []
    for role, groups, shortest in (
        ("held-out", HELD_OUT, SHORTEST_HELD_OUT_RECORD),
        ("train", TRAINING, SHORTEST_TRAINING_RECORD),
    ):
        (arguments.out / role).mkdir(parents=True, exist_ok=True)
        for group, sources in groups.items():
            group_rows = write_group(arguments.data_root, arguments.out, role, group, sources, labels, shortest)
            rows += group_rows
            size = (arguments.out / group_rows[0][0]).stat().st_size
            bases = sum(row[3] for row in group_rows)
            print(f"{group_rows[0][0]}\t{len(group_rows)} records\t{bases / 1e6:.2f} Mb\t{size / 2**20:.2f} MiB", flush=True)

    with open(arguments.out / "split.tsv", "w", newline="") as table:
        writer = csv.writer(table, delimiter="\t", lineterminator="\n")
        writer.writerow(["file", "record", "role", "bases", "accession", "licence"])
        writer.writerows(rows)

    total = sum(path.stat().st_size for path in (arguments.out / "train").glob("*.fa.zst"))
    if total > MEBIBYTES_ALLOWED * 2**20:
        sys.exit(f"split.py: {total / 2**20:.1f} MiB of training files, {MEBIBYTES_ALLOWED} allowed: take fewer bases")


if __name__ == "__main__":
    main()
