# Ctrl-X Ctrl-W ends the word before the cursor by its likeliest completion, or writes the next word:
#
#     source examples/complete.bash
#
# One `cpu1 complete --stdin` stays open for the shell, so that a key costs milliseconds. It ends with the shell.

_cpu1_start() {
    [[ -n ${CPU1_PID-} ]] && kill -0 "$CPU1_PID" 2> /dev/null && return
    { coproc CPU1 { exec cpu1 complete --stdin -n 1; }; } 2> /dev/null
    disown "$CPU1_PID"
}

_cpu1_complete() {
    local text=${READLINE_LINE:0:READLINE_POINT} answer= word
    text=${text//\\/\\\\} text=${text//\"/\\\"} # a string of JSON
    text=${text//$'\n'/\\n} text=${text//$'\t'/\\t} text=${text//[[:cntrl:]]/ }
    _cpu1_start
    printf '{"id": %d, "prefix": "%s"}\n' $((++_cpu1_asked)) "$text" >&"${CPU1[1]}"
    until [[ $answer == '{"id": '$_cpu1_asked,* ]]; do # older ones came too late
        IFS= read -r -t 5 -u "${CPU1[0]}" answer || return
    done
    [[ $answer =~ \"text\":\ \"([^\"]*)\" ]] || return # words hold no quotes
    word=${BASH_REMATCH[1]}
    READLINE_LINE=${READLINE_LINE:0:READLINE_POINT}$word${READLINE_LINE:READLINE_POINT}
    READLINE_POINT=$((READLINE_POINT + ${#word}))
}

_cpu1_asked=0
_cpu1_start
bind -x '"\C-x\C-w": _cpu1_complete'
