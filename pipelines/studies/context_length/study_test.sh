#!/usr/bin/env bash
# Runs the study on a small genome, twice: the second run takes up from the first. FOLDER is emptied first.
#   study_test.sh FOLDER_OF_DNAMAMBA FOLDER_OF_CONTEXT_LENGTH FOLDER
set -euo pipefail
here=$(dirname "$(readlink -f "$0")") out=$3
rm -rf "$out" && mkdir -p "$out/programs"
ln -s "$1/dnamamba" "$2/context_length" "$out/programs"
export PROGRAMS=$out/programs
study() {
  "$here/run.sh" "$here/../../../tests/data/genomes/Mycoplasmoides_genitalium.fa.gz" "$out" \
    --hold-out NC_000908.2:300,001-400,000 --layers 1 --width 16 --contexts 256,2048 --tokens 16384 --batch 4096 \
    --longest 16384 --windows 3 --device cpu "$@"
}
study
[ "$(wc -l <"$out/context-length.tsv")" = $((1 + 2 * 3 * 3)) ]
grep -q '</svg>' "$out/context-length.svg" "$out/context-length-gain.svg"
before=$(stat -c %Y.%i "$out"/model-*/model.safetensors)
study
[ "$before" = "$(stat -c %Y.%i "$out"/model-*/model.safetensors)" ]
! study --seed 2 2>"$out/refused"
grep -q "other settings" "$out/refused"
