# Ctrl-X Ctrl-W ends the word before the cursor by its likeliest completion, or writes the next word:
#
#     source examples/complete.zsh
#
# One `cpu1 complete --stdin` stays open for the shell, so that a key costs milliseconds. It ends with the shell.

_cpu1_start() {
    [[ -n $_cpu1_pid ]] && kill -0 $_cpu1_pid 2> /dev/null && return
    setopt local_options no_monitor no_notify
    coproc { trap '' INT; exec cpu1 complete --stdin -n 1 2> /dev/null }
    _cpu1_pid=$!
    disown
    exec {_cpu1_in}>&p {_cpu1_out}<&p
    coproc : # the shell lets go of its own ends, so that the process ends with the two above
}

cpu1-complete() {
    local text=$LBUFFER answer
    local -a match mbegin mend
    text=${text//\\/\\\\} text=${text//\"/\\\"} # a string of JSON
    text=${text//$'\n'/\\n} text=${text//$'\t'/\\t} text=${text//[[:cntrl:]]/ }
    _cpu1_start
    print -r -u $_cpu1_in -- "{\"id\": $((++_cpu1_asked)), \"prefix\": \"$text\"}"
    until [[ $answer == "{\"id\": $_cpu1_asked,"* ]]; do # older ones came too late
        IFS= read -r -t 5 -u $_cpu1_out answer || return
    done
    [[ $answer =~ '"text": "([^"]*)"' ]] && LBUFFER+=$match[1] # words hold no quotes
}

typeset -g _cpu1_pid= _cpu1_in _cpu1_out
typeset -gi _cpu1_asked=0
_cpu1_start
zle -N cpu1-complete
bindkey '^X^W' cpu1-complete
