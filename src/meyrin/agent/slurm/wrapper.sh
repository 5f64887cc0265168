#!/bin/bash
# Meyrin's wrapper: claims one attempt, runs its script unmodified, leaves facts for the agent.
# The site's own shell, nothing else needed; it opens no file of the job before it has the claim.
umask 077
a=@FOLDER@ news=@NEWS@ push=@PUSH@
id=${SLURM_JOB_ID:?} run=${SLURM_RESTART_COUNT:-0}

hint() { # KIND : a word to the agent that there is a fact. It may get lost; nobody waits for it.
    local word=word_$1 to
    [ "${!word}" ] || return 0
    { while read -r to; do
        case $to in /dev/udp/*) printf 'meyrin1 %s %s %s %s\n' "${a##*/}" "$run" "$1" "${!word}" >"$to" ;; esac
    done <"$push"; } 2>/dev/null
    return 0
}
tell() { # KIND LINE... : a fact, whole once its last line is a dot; then word that there is one
    local kind=$1; shift
    printf '%s\n' "$@" . >"$a/$kind.$run" && : >"$news.$run.$kind" && hint "$kind"
}
not_started() { printf -v now '%(%s)T' -1; tell never "$id" "$now" "$1"; exit 64; }

# The claim: a link is made once, and holds in the same step whose it is. A requeued job (the same
# id, a higher count) claims each further run by itself; any other copy ends here.
if ! ln -s "$id.$run" "$a/owner" 2>/dev/null; then
    owner=$(readlink "$a/owner") || { echo "meyrin: $a can't be written" >&2; exit 72; }
    if [ "${owner%.*}" != "$id" ] || [ "$run" -le "${owner##*.}" ] ||
        ! mkdir "$a/run.$run" 2>/dev/null; then
        printf -v now '%(%s)T' -1
        : >"$a/second.$now"
        : >"$news.$run.second"
        exit 75
    fi
fi

whole=
. "$a/job"
[ "$whole" = yes ] && [ -s "$a/script" ] || not_started "what it needs in $a is damaged"

check() { # WHAT PATH MODE
    local folder=${2%/*}
    if [ "$3" = r ] && [ ! -e "$2" ]; then not_started "$1 $2: No such file or directory (ENOENT)"; fi
    if [ "$3" = r ] && [ ! -r "$2" ]; then not_started "$1 $2: Permission denied (EACCES)"; fi
    [ "$3" = r ] && return
    [ -d "${folder:-/}" ] || not_started "$1 $2: No such file or directory (ENOENT)"
    [ ! -d "$2" ] || not_started "$1 $2: Is a directory (EISDIR)"
    { [ -e "$2" ] && [ -w "$2" ]; } || { [ ! -e "$2" ] && [ -w "${folder:-/}" ]; } ||
        not_started "$1 $2: Permission denied (EACCES)"
}

node=${SLURMD_NODENAME:-$HOSTNAME}
mark=$'\037N' # domain/patterns: NODE
stdin=${stdin//"$mark"/"$node"} stdout=${stdout//"$mark"/"$node"} stderr=${stderr//"$mark"/"$node"}
umask "$mask"
if [ "$make" = yes ] && ! [ -d "$workdir" ]; then mkdir -p -m 700 "$workdir"; fi
cd "$workdir" 2>/dev/null || {
    [ -d "$workdir" ] && not_started "working directory $workdir: Permission denied (EACCES)"
    not_started "working directory $workdir: No such file or directory (ENOENT)"
}
[ "$stdin" = /dev/null ] || check stdin "$stdin" r
check stdout "$stdout" w
[ "$stderr" = "$stdout" ] || check stderr "$stderr" w
if [ "$interpreter" ] && ! [ -x "$interpreter" ]; then
    not_started "the interpreter of '#!$interpreter' can't be run: No such file or directory (ENOENT)"
fi

printf -v began '%(%s)T' -1
tell start "$id" "$began" "$node" "${SLURM_JOB_NODELIST:-}"
exec <"$stdin"
# what a requeued run prints comes after what the earlier ones did
if [ "$append" = yes ] || [ "$run" -gt 0 ]; then exec >>"$stdout"; else exec >"$stdout"; fi
if [ "$stderr" = "$stdout" ]; then exec 2>&1
elif [ "$append" = yes ] || [ "$run" -gt 0 ]; then exec 2>>"$stderr"; else exec 2>"$stderr"; fi

# Slurm's signals reach the script by themselves; the wrapper outlives them to say how it ended.
# They are ignored, not trapped: bash may lose an exit code when a trap breaks off its wait.
signals='TERM HUP INT USR1 USR2 QUIT XCPU ALRM'
trap '' $signals
(
    trap - $signals
    # what the shell gives no meaning it hands on itself; for other names `env` is asked
    [ "${#exports[@]}" = 0 ] || export -- "${exports[@]}"
    [ "${#environment[@]}" = 0 ] || exec /usr/bin/env -- "${environment[@]}" "$a/script" "${arguments[@]}"
    exec "$a/script" "${arguments[@]}"
) <&0 &
child=$!
# --signal=B: means the batch shell alone: that is the script, which stands behind the wrapper.
# It is passed on a moment later, when the wrapper waits again.
woken=
pass_on() { woken=yes; ( exec 9<> <(:); read -r -t 0.1 -u 9; kill -"$forward" "$child" ) 2>/dev/null & }
[ -z "$forward" ] || trap pass_on "$forward"
timer=
if [ "$limit" ]; then
    (
        trap '' $signals
        exec >/dev/null 2>&1 </dev/null
        exec 9<> <(:) # a pipe that says nothing: to wait without a process
        # by parts: of the time in which Slurm suspends a job at most one of them counts
        part=10
        while [ "$limit" -gt 0 ]; do
            [ "$part" -le "$limit" ] || part=$limit
            read -r -t "$part" -u 9
            limit=$((limit - part))
        done
        kill -0 "$child" && : >"$a/over.$run" && kill -TERM 0
        read -r -t "$grace" -u 9
        kill -KILL "$child"
    ) &
    timer=$!
    disown "$timer" # else bash tells in the job's output that it was killed
fi
while :; do
    woken=
    wait "$child"; code=$?
    [ "$woken" ] || break
done
[ "$code" -ge 0 ] && [ "$code" -le 255 ] || code=
printf -v ended '%(%s)T' -1
[ -z "$timer" ] || kill -KILL "$timer" 2>/dev/null
over=no; [ -z "$limit" ] || [ ! -e "$a/over.$run" ] || over=yes
umask 077
{ printf '%s\n' "$id" "$began" "$ended" "$code" "$over" && times && echo .; } >"$a/end.$run" &&
    : >"$news.$run.end" && hint end
[ "$code" ] || exit 255 # not known: bash lost it
case $code in
    14[789] | 150) ;; # signals that stop: nobody would let it go on
    129 | 1[3-8]? | 19[012])
        trap - $signals
        kill -"$((code - 128))" $$ 2>/dev/null ;;
esac
exit "$code"
