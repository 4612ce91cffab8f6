#!/usr/bin/env bash
# Builds the study, runs it with the options given (--device cuda; --help) and plots its table. Where there is only a
# bundle (`./do bundle`), that one's program is run.
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../../.."
readonly name=induction_heads out=build/studies/induction_heads
program=build/bundle/$name
if [ -f build/release/build.ninja ] || [ ! -x $program ]; then
  ./do build
  cmake --build --preset release --target $name
  program=build/release/pipelines/studies/induction_heads/$name
fi
mkdir -p $out
rm -f $out/table.tsv
$program "$@" -o $out/table.tsv
[ -f $out/table.tsv ] || exit 0  # --help
python3 pipelines/studies/induction_heads/plot.py $out/table.tsv $out/plot.svg
echo "$PWD/$out: table.tsv, plot.svg"
