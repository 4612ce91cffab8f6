#!/usr/bin/env bash
# Does a longer context help to predict real DNA? One command: trains, measures, draws. See README.md.
set -euo pipefail
readonly here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")

help() {
  cat <<'HELP'
usage: run.sh GENOME OUT --hold-out REGION [options] [-- OPTIONS OF dnamamba pretrain]

Trains the same network on the same number of tokens of GENOME at several contexts, without REGION; measures bits per
base in windows of REGION after contexts of more and more bases; draws them into OUT/context-length.svg. REGION must be
three times the longest context, and a little more. A run that was stopped goes on with the same command.

  --hold-out REGION    such as 20:50,000,001-54,000,001, counted from 1
  --contexts A,B,C     of the trainings, bases [1024,16384,262144]
  --tokens N           that each training reads [167772160]
  --batch N            tokens of a step [262144]
  --layers N           of the network [8]
  --width N            of its layers [256]
  --shortest N         context that is measured, bases; the next one is 4 times as long, and so on [1024]
  --longest N          the last of them [1048576]
  --windows N          that are measured [64]
  --seed N             of network, data and controls [1]
  --device D           auto, cpu, cuda or cuda:N [auto]
  --small              other defaults, for minutes on a laptop: contexts 1024,16384, 2 layers of 64, 2097152 tokens in
                       steps of 16384, contexts of up to 65536, 32 windows

PROGRAMS=FOLDER        where dnamamba and context_length are, such as build/bundle; default: build/release of this tree
HELP
}
fail() { printf 'run.sh: %s\n' "$*" >&2; exit "${status:-1}"; }
wrong() { status=2 fail "$* (try --help)"; }

genome='' out='' region='' contexts=1024,16384,262144 tokens=167772160 batch=262144 layers=8 width=256
shortest=1024 longest=1048576 windows=64 seed=1 device=auto
for word; do
  [ "$word" != -- ] || break
  [ "$word" != --small ] || {
    contexts=1024,16384 tokens=2097152 batch=16384 layers=2 width=64 longest=65536 windows=32; }
done
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) help; exit ;;
    --small) shift ;;
    --) shift; break ;;
    --hold-out | --contexts | --tokens | --batch | --layers | --width | --shortest | --longest | --windows | --seed | --device)
      [ $# -gt 1 ] || wrong "$1 needs a value"
      name=${1#--}
      [ "$name" != hold-out ] || name=region
      printf -v "$name" %s "$2"; shift 2 ;;
    -*) wrong "unknown option $1" ;;
    *)
      if [ -z "$genome" ]; then genome=$1; elif [ -z "$out" ]; then out=$1; else wrong "one GENOME, one OUT: what is $1?"; fi
      shift ;;
  esac
done
[ -n "$out" ] || wrong "name a genome and a folder for what is made"
[ -n "$region" ] || wrong "--hold-out is missing: on what part of the genome is to be measured?"
for number in $tokens $batch $layers $width $shortest $longest $windows $seed ${contexts//,/ }; do
  [[ $number =~ ^[1-9][0-9]*$ ]] || wrong "'$number' is not a whole number above 0"
done
for context in ${contexts//,/ }; do
  [ "$context" -le "$batch" ] || wrong "a context of $context bases does not fit into a step of $batch tokens: give a larger --batch"
done
[ "$tokens" -ge "$batch" ] || wrong "--tokens is less than --batch"

release=$here/../../../build/release
dnamamba=${PROGRAMS:-$release/apps}/dnamamba
measure=${PROGRAMS:-$release/pipelines/studies/context_length}/context_length
for program in "$dnamamba" "$measure"; do
  [ -x "$program" ] || fail "$program is not there: build it (cmake --build --preset release), or set PROGRAMS to where it is"
done

mkdir -p "$out"
# What was made of other settings is not to be mixed with what these make.
settings="$genome $region contexts $contexts tokens $tokens batch $batch layers $layers width $width shortest $shortest longest $longest windows $windows seed $seed $*"
[ -e "$out/settings" ] || printf '%s\n' "$settings" >"$out/settings"
[ "$(cat "$out/settings")" = "$settings" ] ||
  fail "$out is of other settings ($(cat "$out/settings")): name another folder, or remove it"

# unless_there FILE WHAT COMMAND...: makes FILE and says how long it took; what is under its final name is whole.
unless_there() {
  local file=$1 what=$2 start=$SECONDS; shift 2
  [ ! -e "$file" ] || return 0
  "$@"
  echo "$what: $((SECONDS - start)) s" >&2
}
unless_there "$out/genome.dnaz" packing "$dnamamba" pack "$genome" -o "$out/genome.dnaz"
for context in ${contexts//,/ }; do
  unless_there "$out/model-$context" "training on contexts of $context" \
    "$dnamamba" pretrain "$out/genome.dnaz" -o "$out/model-$context" --hold-out "$region" --context "$context" \
    --batch "$batch" --steps $((tokens / batch)) --layers "$layers" --d-model "$width" --seed "$seed" \
    --device "$device" --checkpoint "$out/run-$context" --log "$out/training-$context.jsonl" "$@"
  unless_there "$out/bits-$context.tsv" "measuring it" \
    "$measure" -m "$out/model-$context" -r "$region" "$out/genome.dnaz" --shortest "$shortest" --longest "$longest" \
    --windows "$windows" --seed "$seed" --device "$device" -o "$out/bits-$context.tsv"
done
{
  printf 'trained_on\t'; head -n 1 "$out/bits-${contexts%%,*}.tsv"
  for context in ${contexts//,/ }; do tail -n +2 "$out/bits-$context.tsv" | sed "s/^/$context\t/"; done
} >"$out/context-length.tsv.part"
mv "$out/context-length.tsv.part" "$out/context-length.tsv"
python3 "$here/plot.py" "$out"
echo "$out/context-length.tsv, context-length.svg and context-length-gain.svg are there" >&2
