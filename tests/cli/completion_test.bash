#!/usr/bin/env bash
# completion_test.bash PROGRAM: what bash offers with the completions that PROGRAM prints.
set -u
program=$1 failed=0
source <("$program" completion bash) || exit 1

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder" && touch genome.fa 'two words.fa' && mkdir models || exit 1

# offered WORD...: what may stand in the place of the last word, as one line.
offered() {
  COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
  _dnamamba
  local IFS=,
  echo "${COMPREPLY[*]-}"
}

expect() {  # EXPECTED WORD...
  local expected=$1 is; shift
  is=$(offered "$@")
  [ "$is" = "$expected" ] || { printf '%s: offered "%s", not "%s"\n' "$*" "$is" "$expected"; failed=1; }
}

expect 'doctor' dnamamba do
expect '--version' dnamamba --v
expect 'embed' dnamamba help em
expect 'bash,zsh' dnamamba completion ''
expect '--window' dnamamba embed --win
expect '-w' dnamamba embed -w
expect 'mean,max,last,none' dnamamba embed --pool ''
expect 'mean,max' dnamamba embed --pool = m
expect 'mean,max,last,none' dnamamba embed --pool =
expect 'dnamamba-tiny,models' dnamamba embed -m ''
expect 'dnamamba' dnamamba embed --alphabet dna
expect '' dnamamba embed --window ''
expect 'genome.fa' dnamamba embed --window 5k --force gen
expect 'two words.fa' dnamamba embed --pool = mean genome.fa two
expect 'genome.fa' dnamamba embed -o gen
expect 'models' dnamamba pretrain --checkpoint ''
expect 'list,show,verify,export' dnamamba models ''
expect 'dnamamba-tiny' dnamamba models show dna
expect 'dnamamba-tiny' dnamamba models verify models dna
expect 'transformers' dnamamba models export dnamamba-tiny --to tr
expect '' dnamamba nonsense --

# Every option that a help shows is offered, in the same order.
for command in $("$program" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p'); do
  expect "$("$program" "$command" --help | grep -oE '^  (-[a-zA-Z],|   ) --[a-z-]+' | grep -oE -- '--[a-z-]+' | paste -sd,)" \
    dnamamba "$command" --
done
exit $failed
