"""Reads every FASTA, FASTQ, SAM, BAM and CRAM under some folders with samtools and with dnamamba, and compares the bases.

    python3 tests/io/compare_with_samtools.py build/release/apps/dnamamba FOLDER...

Not a test: it is meant for other people's files, such as the test folders of htslib and samtools, many of which are
damaged or odd on purpose. Each file is read whole, filtered, and by random regions (a BED). What differs is printed; exit
status 1 if any bases do, or if dnamamba reads a file that samtools calls damaged.
"""

import collections
import pathlib
import random
import subprocess
import sys
import tempfile

ALIGNMENTS = {".sam", ".bam", ".cram"}
SUFFIXES = ALIGNMENTS | {".fa", ".fasta", ".fq", ".fastq"}
EXCLUDED = "0xF00"
COMPLEMENT = bytes.maketrans(b"ACGTUMRWSYKVHDBN=acgtumrwsykvhdbn", b"TGCAAKYWSRMBDHVN=tgcaakywsrmbdhvn")


def output(*words, stdin=None):
    """(exit status, standard output, last line of standard error)"""
    done = subprocess.run(words, input=stdin, capture_output=True, timeout=300)
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return done.returncode, done.stdout, lines[-1] if lines else ""


def records_of_fasta(fasta):
    """[(name, bases)]; an empty record is left out, as a read without bases is."""
    found = []
    for part in fasta.split(b"\n>") if fasta else []:
        header, _, bases = part.lstrip(b">").partition(b"\n")
        bases = bases.replace(b"\n", b"")
        if bases:
            found.append((header.split(b" ")[0].split(b"\t")[0], bases))
    return found


def records_of_sam(sam):
    """[(name, bases as sequenced)]: what `samtools fasta` prints, but that joins neighbours of one name."""
    found = []
    for line in sam.splitlines():
        name, flag, *_, bases = line.split(b"\t")[:10]
        flag = int(flag)
        if flag & 16:
            bases = bases.translate(COMPLEMENT)[::-1]
        if bases != b"*":
            found.append((name + {64: b"/1", 128: b"/2"}.get(flag & 192, b""), bases))
    return found


def random_bed(path, folder):
    """A BED of up to three places of the file's reference sequences; None if it has none."""
    _, header, _ = output("samtools", "view", "-H", path)
    lengths = {}
    for line in header.decode(errors="replace").splitlines():
        fields = dict(f.split(":", 1) for f in line.split("\t")[1:] if ":" in f)
        if line.startswith("@SQ") and fields.get("LN", "0").isdigit() and int(fields["LN"]) > 1:
            lengths[fields.get("SN")] = int(fields["LN"])
    if not lengths:
        return None
    places = []
    for name in random.sample(sorted(lengths), min(3, len(lengths))):
        begin = random.randrange(lengths[name] - 1)
        places.append(f"{name}\t{begin}\t{random.randint(begin + 1, lengths[name])}\n")
    bed = pathlib.Path(folder, "places.bed")
    bed.write_text("".join(places))
    return str(bed)


def questions(path, folder):
    """(what is asked, options of `samtools view`, options of `dnamamba info`) for a file."""
    yield "whole", ["-F", EXCLUDED], []
    if path.suffix not in ALIGNMENTS:
        return
    yield "all flags", [], ["--exclude-flags", "0"]
    yield "mapq 20", ["-F", EXCLUDED, "-q", "20"], ["--min-mapq", "20"]
    if bed := random_bed(path, folder):
        yield "regions", ["-F", EXCLUDED, "-L", bed], ["-R", bed]


def reference_for(path):
    """What samtools can read a CRAM with: nothing, or a FASTA beside it."""
    if path.suffix != ".cram" or output("samtools", "view", path)[0] == 0:
        return None
    for fasta in sorted(path.parent.glob("*.fa")):
        if output("samtools", "view", "--reference", fasta, path)[0] == 0:
            return fasta
    return None


def main():
    program, folders = sys.argv[1], sys.argv[2:]
    random.seed(1)
    counts, wrong = collections.Counter(), 0
    with tempfile.TemporaryDirectory() as folder:
        for path in sorted(p for f in folders for p in pathlib.Path(f).rglob("*") if p.suffix in SUFFIXES):
            reference = reference_for(path)
            by = ["--reference", str(reference)] if reference else []
            for what, view_options, options in questions(path, folder):
                status, expected, reason = output("samtools", "view", "--no-PG", *view_options, *by, path)
                own_status, found, own_reason = output(program, "info", "--bases", *options, *by, path)
                if path.suffix not in ALIGNMENTS:
                    found = found.upper().replace(b"U", b"T")  # as `samtools view` shows them, names alike
                    expected = expected.upper().replace(b"U", b"T")
                expected, found = records_of_sam(expected), records_of_fasta(found)
                if status == 0 and own_status == 0:
                    verdict = "same" if expected == found else "DIFFERENT"
                elif status != 0 and own_status != 0:
                    verdict = "both refuse"
                else:
                    verdict = "only dnamamba refuses" if own_status else "ONLY SAMTOOLS REFUSES"
                counts[verdict] += 1
                wrong += verdict.isupper()
                if verdict not in ("same", "both refuse"):
                    first = next((pair for pair in zip(expected, found) if pair[0] != pair[1]), "")
                    print(f"{verdict}: {path}: {what}: {len(expected)} and {len(found)} records; samtools: {reason}; "
                          f"dnamamba: {own_reason} {str(first)[:300]}", flush=True)
    print(", ".join(f"{count} {verdict}" for verdict, count in counts.most_common()))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
