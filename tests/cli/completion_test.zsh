#!/usr/bin/env zsh
# completion_test.zsh FILE: what a zsh on a terminal of its own makes of lines, with the completions in FILE.
zmodload zsh/zpty || exit 77
zsh -n $1 || exit 1
integer failed=0
completions=${1:a}
folder=$(mktemp -d)
cd $folder && touch genome.fa && mkdir models || exit 1

zpty shell zsh -f -i
# ^X shows the line as it is after completion.
zpty -w shell "PS1=; unsetopt zle_bracketed_paste; autoload -U compinit; compinit -D -u; source $completions;
  show() { print -r -- \"<<\$BUFFER>>\"; BUFFER= }; zle -N show; bindkey '^X' show; print rea''dy"
zpty -r shell line '*ready*'

expect() {  # LINE COMPLETED
  local seen
  zpty -w -n shell "$1"$'\t\x18'
  zpty -r shell seen '*<<*>>*' || { print "no answer to $1"; exit 1 }
  seen=${${seen##*<<}%%>>*}
  [[ ${seen% } == $2 ]] || { print -r -- "\"$1\" became \"$seen\", not \"$2\""; failed=1 }
}

expect 'dnamamba doc' 'dnamamba doctor'
expect 'dnamamba --cit' 'dnamamba --citation'
expect 'dnamamba embed --pool la' 'dnamamba embed --pool last'
expect 'dnamamba embed --pool=la' 'dnamamba embed --pool=last'
expect 'dnamamba embed --win' 'dnamamba embed --window='
expect 'dnamamba embed -m dna' 'dnamamba embed -m dnamamba-tiny'
expect 'dnamamba embed --force gen' 'dnamamba embed --force genome.fa'
expect 'dnamamba models ver' 'dnamamba models verify'
expect 'dnamamba models show mod' 'dnamamba models show models/'

zpty -d shell
rm -rf $folder
exit $failed
