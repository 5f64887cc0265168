# Shared helpers of the testbed scripts. Source it; do not run it.
# Every process is started in its own session, in the foreground mode of the
# daemon, and its pid is written to $MTB_DIR/pids/NAME.pid, so that "down"
# ends exactly the processes that "up" started.

MTB_DIR=${MTB_DIR:-${TMPDIR:-/tmp}/meyrin-testbed}
MTB_TIMEOUT=${MTB_TIMEOUT:-60}          # seconds to wait for one thing to become ready

say()  { printf '[testbed] %s\n' "$*" >&2; }
die()  { say "ERROR: $*"; exit 1; }

# Exit codes: 1 failed, 3 something is missing on this machine and may not be installed by us.
missing() { say "MISSING: $*"; exit 3; }
need_root() { [ "$(id -u)" = 0 ] || missing "$* needs root"; }

mtb_dirs() { mkdir -p "$MTB_DIR/pids" "$MTB_DIR/log"; chmod 755 "$MTB_DIR" "$MTB_DIR/pids" "$MTB_DIR/log"; }

lacking() { local p; for p; do
    dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'install ok installed' || printf '%s ' "$p"; done; }

# apt_need PACKAGE... : as root install those that are missing, as another user name them and stop.
apt_need() {
    local lock lacking
    lacking=$(lacking "$@")
    [ -n "$lacking" ] || return 0
    [ "$(id -u)" = 0 ] || missing "Debian packages ${lacking% } (apt-get install, as root)"
    command -v apt-get >/dev/null || missing "apt-get, to install ${lacking% }"
    # one at a time: whoever comes second finds it done
    exec {lock}<"$(dirname "${BASH_SOURCE[0]}")"; flock "$lock"
    lacking=$(lacking "$@")
    [ -z "$lacking" ] || apt_install $lacking
    exec {lock}<&-
}

apt_install() {
    say "installing: $*"
    # Never let a package start its own service.
    local policy=/usr/sbin/policy-rc.d made=
    if [ ! -e $policy ]; then printf '#!/bin/sh\nexit 101\n' >$policy; chmod 755 $policy; made=1; fi
    # an old package list gives "404 Not Found"; refresh it once, quietly
    local apt=(apt-get -o DPkg::Lock::Timeout=300)
    "${apt[@]}" update -qq >"$MTB_DIR/log/apt.log" 2>&1 || say "apt-get update failed, trying the list at hand"
    DEBIAN_FRONTEND=noninteractive "${apt[@]}" install -y --no-install-recommends "$@" \
        >>"$MTB_DIR/log/apt.log" 2>&1 || { tail -20 "$MTB_DIR/log/apt.log" >&2; die "apt-get could not install $*"; }
    [ -z "$made" ] || rm -f $policy
}

pid_of()  { cat "$MTB_DIR/pids/$1.pid" 2>/dev/null; }
# a zombie counts as ended: where PID 1 is not a real init, orphans stay zombies for a while
alive()   { local st; st=$(ps -o stat= -p "$1" 2>/dev/null) && [ -n "$st" ] && [ "${st#Z}" = "$st" ]; }
running() { local p; p=$(pid_of "$1") && [ -n "$p" ] && alive "$p"; }

# spawn NAME COMMAND... : run in the background, output to log/NAME.out, record the pid.
spawn() {
    local name=$1; shift
    running "$name" && { say "$name already runs (pid $(pid_of "$name"))"; return 0; }
    # the inner shell writes its own pid and then becomes the daemon
    # ("exec", also through setpriv, keeps the pid)
    setsid bash -c 'echo $$ >"$1"; shift; exec "$@"' spawn "$MTB_DIR/pids/$name.pid" "$@" \
        >>"$MTB_DIR/log/$name.out" 2>&1 </dev/null &
    disown
    local i; for i in $(seq 1500); do [ -s "$MTB_DIR/pids/$name.pid" ] && return 0; sleep 0.02; done
}

# priv USER : sets PRIV to a prefix that drops to USER without a new pid,
# PAM session or login shell, e.g.  priv postgres; spawn pg "${PRIV[@]}" postgres -D ...
priv() { PRIV=(setpriv --reuid="$1" --regid="$(id -g "$1")" --init-groups --); }

# wait_for WHAT COMMAND... : poll until the command succeeds.
wait_for() {
    local what=$1 end=$((SECONDS + MTB_TIMEOUT)); shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || die "$what not ready after $MTB_TIMEOUT s; see $MTB_DIR/log: $(tail -n 1 "$MTB_DIR/log/$what.out" 2>/dev/null)"
        sleep 0.1
    done
}

# free_port FIRST : the first port from there on where nobody answers.
free_port() {
    local p
    for p in $(seq "$1" $(($1 + 199))); do port_open "$p" || { echo "$p"; return; }; done
    die "no free port from $1 on"
}

port_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# stop NAME... : TERM them all, wait up to 15 s, then KILL; only our own pids.
stop() {
    local name p i left
    for name; do p=$(pid_of "$name") && [ -n "$p" ] && kill -TERM "$p" 2>/dev/null; done
    for i in $(seq 150); do
        left=""
        for name; do p=$(pid_of "$name") && [ -n "$p" ] && alive "$p" && left+=" $p"; done
        [ -z "$left" ] && break
        sleep 0.1
    done
    [ -z "$left" ] || { say "did not end, killing:$left"; kill -KILL $left 2>/dev/null; }
    for name; do rm -f "$MTB_DIR/pids/$name.pid"; done
}

# kill9 NAME : as a crash. Waits until the pid is really gone: a zombie still looks
# alive to lock files (PostgreSQL's postmaster.pid) until PID 1 has reaped it.
kill9() {
    local p i; p=$(pid_of "$1") || die "$1 has no pid"
    kill -KILL "$p"; rm -f "$MTB_DIR/pids/$1.pid"
    for i in $(seq 300); do [ -e "/proc/$p" ] || return 0; sleep 0.1; done
    die "pid $p of $1 was killed but never reaped"
}

list_pids() { local f n; for f in "$MTB_DIR"/pids/*.pid; do [ -e "$f" ] || continue; n=$(basename "$f" .pid)
    if running "$n"; then printf '%-28s pid %-8s running\n' "$n" "$(cat "$f")"; else printf '%-28s pid %-8s DEAD\n' "$n" "$(cat "$f")"; fi; done; }
