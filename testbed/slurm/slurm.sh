#!/usr/bin/env bash
# A private Slurm federation on one machine, without systemd: m independent
# sites, each with n nodes, its own munge key, slurmctld, slurmdbd, slurmrestd
# (JWT) and fake GPUs. Run as root.
#
#   slurm.sh up | down | status | kill-ctl SITE | start-ctl SITE | env SITE | sql SITE STATEMENT | token SITE USER [SECONDS]
#
# All settings are environment variables (defaults in brackets):
#   MTB_DIR       state directory                      [$TMPDIR/meyrin-testbed]
#   SITES         names of the sites                   ["alpha beta"]
#   NODES         nodes per site                       [2]
#   CPUS MEM      per node: fake CPUs, fake MiB        [32, 64000]
#   GPUS GPUTYPE  per node: fake GPUs and their type   [8, h100]; NODES_<site>, CPUS_<site>,
#                 GPUS_<site> and GPUTYPE_<site> override these for one site
#   JOB_USERS     users that jobs run as (made if missing) ["mtb1 mtb2 mtb3"]
#   JOB_ACCOUNTS  accounts, each as NAME:SHARES        ["astro:60 bio:30 climate:10"]
#   ACCOUNTING    1: mariadb + slurmdbd; 0: none       [1]
#   REST          1: slurmrestd                        [1]
#   BASE_PORT     ports from here on (100 per site)    [17000]
#   SCHEDPARAMS   SchedulerParameters of slurm.conf
#   BIND_ANY      1: listen on every address, not only 127.0.0.1 [0]
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../lib.sh"

S="$MTB_DIR/slurm"
# "up" keeps its settings, so that later commands need only MTB_DIR
[ -e "$S/settings" ] && . "$S/settings"

SITES=${SITES:-alpha beta}
NODES=${NODES:-2}; CPUS=${CPUS:-32}; MEM=${MEM:-64000}; GPUS=${GPUS:-8}; GPUTYPE=${GPUTYPE:-h100}
JOB_USERS=${JOB_USERS:-mtb1 mtb2 mtb3}
JOB_ACCOUNTS=${JOB_ACCOUNTS:-astro:60 bio:30 climate:10}
ACCOUNTING=${ACCOUNTING:-1}; REST=${REST:-1}
BASE_PORT=${BASE_PORT:-17000}
DEBUG=${DEBUG:-info}; MINJOBAGE=${MINJOBAGE:-300}; SLURMDTIMEOUT=${SLURMDTIMEOUT:-30}
SCHEDPARAMS=${SCHEDPARAMS:-batch_sched_delay=0,sched_min_interval=100000,bf_interval=5,defer_batch}
SQLPORT=$((BASE_PORT + 99))
SQLPASS=${SQLPASS:-meyrin-testbed}

# With NoInAddrAny Slurm's daemons and srun bind the address of the host name. srun is
# called back at the address that its calls come from, so that must be 127.0.0.1:
# with Debian's usual 127.0.1.1 sbatch works and srun waits for ever.
ADDR=127.0.0.1; COMM=NoInAddrAny,NoCtldInAddrAny; DBDCOMM=CommunicationParameters=NoInAddrAny
[ "${BIND_ANY:-0}" = 1 ] && { COMM=keepaliveinterval=30; DBDCOMM=""; }

per_site() { local v="$1_$2"; echo "${!v:-${!1}}"; }   # per_site CPUS alpha

packages() {
    local p=(slurmctld slurmd slurm-client slurm-wlm-basic-plugins munge procps)
    command -v python3 >/dev/null || p+=(python3-minimal)
    [ "$REST" = 1 ] && p+=(slurmrestd slurm-wlm-jwt-plugin)
    [ "$ACCOUNTING" = 1 ] && p+=(slurmdbd slurm-wlm-mysql-plugin mariadb-server mariadb-client)
    apt_need "${p[@]}"
}

site_index() { local i=0 s; for s in $SITES; do [ "$s" = "$1" ] && { echo $i; return; }; i=$((i+1)); done; die "no site $1 in '$SITES'"; }
site_vars() {   # sets the variables of one site
    site=$1; idx=$(site_index "$site"); dir=$S/$site
    base=$((BASE_PORT + 100 * idx)); ctlport=$((base+1)); dbdport=$((base+2)); restport=$((base+3))
    siteid=${site//[^a-zA-Z0-9]/_}
    nodes=$(per_site NODES "$siteid"); cpus=$(per_site CPUS "$siteid")
    gpus=$(per_site GPUS "$siteid"); gputype=$(per_site GPUTYPE "$siteid")
    export SLURM_CONF=$dir/slurm.conf
}

write_conf() {
    local n nl="" gl="" i
    mkdir -p "$dir"/{munge,ctld,spool,run,log,fakegpu}
    chmod 755 "$S" "$dir" "$dir/munge" "$dir/run" "$dir/fakegpu"; chmod 700 "$dir/ctld"
    [ -s "$dir/munge/munge.key" ] || (umask 077; head -c 1024 /dev/urandom >"$dir/munge/munge.key")
    [ -s "$dir/jwt.key" ] || (umask 077; head -c 32 /dev/urandom >"$dir/jwt.key")
    for n in $(seq "$nodes"); do
        nl+="NodeName=$site-n$n NodeHostname=$site-n$n NodeAddr=$ADDR Port=$((base+10+n))"
        [ "$gpus" -gt 0 ] && nl+=" Gres=gpu:$gputype:$gpus"
        nl+=$'\n'
    done
    if [ "$gpus" -gt 0 ]; then
        for i in $(seq 0 $((gpus-1))); do [ -e "$dir/fakegpu/nvidia$i" ] || mknod "$dir/fakegpu/nvidia$i" c 1 3 2>/dev/null || : >"$dir/fakegpu/nvidia$i"; done
        gl="Name=gpu Type=$gputype File=$dir/fakegpu/nvidia[0-$((gpus-1))]"
    fi
    local accttype=accounting_storage/none enforce="" accttres="" billing=CPU=1.0
    # 20.11 knows neither of these
    local storeflags=AccountingStoreFlags=job_comment,job_script,job_env cgroup=$'CgroupPlugin=cgroup/v1\nIgnoreSystemd=yes'
    case $release in 20.*) storeflags=AccountingStoreJobComment=YES cgroup="" ;; 21.*) cgroup="" ;; esac
    [ "$ACCOUNTING" = 1 ] && { accttype=accounting_storage/slurmdbd; enforce=AccountingStorageEnforce=associations,limits,qos; }
    # "slurmdbd is required to run with TRES gres/gpu", says slurmctld
    [ "$gpus" -gt 0 ] && [ "$ACCOUNTING" = 1 ] && { accttres=AccountingStorageTRES=gres/gpu,gres/gpu:$gputype; billing=CPU=1.0,GRES/gpu=16.0; }
    python3 - "$here" "$dir" <<PY
import sys, os
here, out = sys.argv[1:3]
v = dict(SITE="""$site""", SITEID="""$siteid""", CTLHOST=os.uname().nodename.split('.')[0], CTLPORT="$ctlport", ADDR="$ADDR", COMM="$COMM", DBDCOMM="$DBDCOMM",
         DBDPORT="$dbdport", DIR="""$dir""", DEBUG="$DEBUG", SCHEDPARAMS="""$SCHEDPARAMS""", MINJOBAGE="$MINJOBAGE",
         SLURMDTIMEOUT="$SLURMDTIMEOUT", ACCTTYPE="$accttype", ENFORCE="$enforce", ACCTTRES="$accttres", BILLING="$billing", GPUTYPE="$gputype",
         CPUS="$cpus", MEM="$MEM", DEFMEM=str(max(1, int("$MEM") // int("$cpus") // 2)), NODES="""$nl""", GRES="""$gl""",
         STOREFLAGS="$storeflags", CGROUP="""$cgroup""",
         SQLPORT="$SQLPORT", SQLPASS="""$SQLPASS""")
for f in ("slurm.conf", "slurmdbd.conf", "gres.conf", "cgroup.conf"):
    t = open(f"{here}/{f}.in").read()
    for k, x in v.items():
        t = t.replace("@%s@" % k, x)
    fd = os.open(f"{out}/{f}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600 if f == "slurmdbd.conf" else 0o644)
    os.write(fd, t.encode()); os.close(fd)
PY
    [ -s "$dir/slurm.conf" ] || die "could not write $dir/slurm.conf"
}

sql() { mariadb --no-defaults -S "$S/sql/sock" -u root -N -e "$1"; }
start_sql() {
    # a server that starts tidies its tmpdir of temporary tables, those of other servers too
    mkdir -p "$S/sql/tmp"; chown mysql: "$S/sql" "$S/sql/tmp"
    if [ ! -d "$S/sql/data/mysql" ]; then
        mariadb-install-db --no-defaults --user=mysql --datadir="$S/sql/data" --auth-root-authentication-method=socket \
            --tmpdir="$S/sql/tmp" --skip-test-db >"$MTB_DIR/log/mariadb-install.out" 2>&1 ||
            die "mariadb-install-db failed: $(grep -m1 ERROR "$MTB_DIR/log/mariadb-install.out")"
    fi
    priv mysql
    spawn mariadb "${PRIV[@]}" mariadbd --no-defaults --datadir="$S/sql/data" --socket="$S/sql/sock" --pid-file="$S/sql/mariadbd.pid" \
        --bind-address=127.0.0.1 --port="$SQLPORT" --innodb-buffer-pool-size=256M --innodb-flush-log-at-trx-commit=2 \
        --innodb-lock-wait-timeout=900 --skip-name-resolve --tmpdir="$S/sql/tmp"
    # the install scripts leave root@localhost reachable by the system's root only
    priv root
    wait_for mariadb sql 'select 1'
    sql "create user if not exists slurm@'127.0.0.1' identified by '$SQLPASS'"
}

ctl_up()  { scontrol ping 2>/dev/null | grep -q 'is UP'; }
dbd_up()  { sacctmgr -n show cluster >/dev/null 2>&1; }
nodes_up() { [ "$(sinfo -h -N -p gpu -t idle,mixed,allocated -o %N 2>/dev/null | sort -u | wc -l)" = "$nodes" ]; }

accounts() {   # few sacctmgr calls: each costs a third of a second
    local a s names="" cmds=""
    sacctmgr -n show cluster format=cluster%30 | grep -qw "$site" || cmds+="add cluster $site"$'\n'
    for a in $JOB_ACCOUNTS; do
        s=${a#*:}; [ "$s" = "$a" ] && s=1
        cmds+="add account ${a%%:*} cluster=$site fairshare=$s"$'\n'
        names+=",${a%%:*}"
    done
    cmds+="add user ${JOB_USERS// /,} account=${names#,} cluster=$site fairshare=1"$'\n'
    printf '%s' "$cmds" | sacctmgr -i >>"$MTB_DIR/log/$site-sacctmgr.out" 2>&1   # "Nothing new added" is fine
    return 0
}

start_ctl() { spawn "$site-slurmctld" slurmctld -D -f "$dir/slurm.conf" $( [ -e "$dir/ctld/job_state" ] || echo -c ); }

up() {
    need_root "Slurm"; mtb_dirs
    [ "${BIND_ANY:-0}" = 1 ] || [ "$(getent ahostsv4 "$(hostname)" | awk 'NR==1{print $1}')" = 127.0.0.1 ] ||
        die "put the line '127.0.0.1 $(hostname)' at the top of /etc/hosts, or set BIND_ANY=1 (Slurm then listens on every address)"
    packages
    release=$(slurmctld -V); release=${release##* }
    mkdir -p "$S"; chmod 755 "$S"
    local u s n v t0=$SECONDS
    for v in SITES NODES CPUS MEM GPUS GPUTYPE JOB_USERS JOB_ACCOUNTS ACCOUNTING REST BASE_PORT ${!NODES_*} ${!CPUS_*} ${!GPUS_*} ${!GPUTYPE_*}; do
        printf ': "${%s:=%s}"\n' "$v" "${!v}"
    done >"$S/settings"
    for u in $JOB_USERS; do id "$u" >/dev/null 2>&1 || useradd -m -s /bin/bash "$u"; done
    id slurmrest >/dev/null 2>&1 || useradd -r -M -s /usr/sbin/nologin slurmrest
    [ "$ACCOUNTING" = 1 ] && start_sql
    for s in $SITES; do
        site_vars "$s"; write_conf
        spawn "$site-munged" munged -F --num-threads=8 --key-file="$dir/munge/munge.key" --socket="$dir/munge/munge.sock" \
            --pid-file="$dir/munge/munged.pid" --log-file="$dir/munge/munged.log" --seed-file="$dir/munge/seed"
        wait_for "munge of $site" munge -n -S "$dir/munge/munge.sock"
        if [ "$ACCOUNTING" = 1 ]; then
            sql "create database if not exists slurm_$siteid; grant all on slurm_$siteid.* to slurm@'127.0.0.1'"
            spawn "$site-slurmdbd" slurmdbd -D
        fi
    done
    # without slurmdbd the db part of the REST API stops the daemon
    local restapis=slurmctld db=slurmdbd of_data=""    # all versions of their data behind one name
    case $release in 20.*) of_data=v0.0.36 ;; 21.*) of_data=v0.0.37 ;; 22.*) of_data=v0.0.38 ;; 23.02*) of_data=v0.0.39 ;; esac
    [ -z "$of_data" ] || restapis=openapi/$of_data db=openapi/db$of_data
    [ "$ACCOUNTING" = 1 ] && restapis+=,$db
    for s in $SITES; do
        site_vars "$s"
        if [ "$ACCOUNTING" = 1 ]; then wait_for "slurmdbd of $site" dbd_up; accounts; fi
        start_ctl
        for n in $(seq "$nodes"); do spawn "$site-slurmd-n$n" slurmd -D -f "$dir/slurm.conf" -N "$site-n$n"; done
        if [ "$REST" = 1 ]; then
            priv slurmrest
            SLURM_JWT=daemon spawn "$site-slurmrestd" "${PRIV[@]}" slurmrestd -f "$dir/slurm.conf" -a rest_auth/jwt -s "$restapis" "127.0.0.1:$restport"
        fi
    done
    for s in $SITES; do
        site_vars "$s"
        wait_for "slurmctld of $site" ctl_up
        wait_for "nodes of $site" nodes_up
        [ "$REST" = 1 ] && wait_for "slurmrestd of $site" port_open "$restport"
        say "site $site: export SLURM_CONF=$dir/slurm.conf  (slurmrestd: 127.0.0.1:$restport)"
    done
    say "up after $((SECONDS-t0)) s; pids in $MTB_DIR/pids"
}

down() {   # clients of a daemon first, then the daemon
    local s front=() mid=() back=()
    for s in $SITES; do
        site_vars "$s"
        front+=("$site-slurmrestd" $(cd "$MTB_DIR/pids" 2>/dev/null && ls | sed -n "s/^\($site-slurmd-.*\)\.pid$/\1/p"))
        mid+=("$site-slurmctld"); back+=("$site-slurmdbd" "$site-munged")
    done
    stop "${front[@]}"; stop "${mid[@]}"; stop "${back[@]}"; stop mariadb
}

case ${1:-} in
    up) up ;;
    down) down ;;
    status) list_pids; for s in $SITES; do site_vars "$s"; echo "== $site"; sinfo -N -o '%10N %8t %5c %7m %G' 2>&1; squeue 2>&1 | head -5; done ;;
    env) site_vars "$2"; echo "export SLURM_CONF=$dir/slurm.conf MEYRIN_SLURMREST=http://127.0.0.1:$restport" ;;
    token) site_vars "$2"; scontrol token username="$3" lifespan="${4:-3600}" | sed 's/^SLURM_JWT=//' ;;
    sql) site_vars "$2"; sql "use slurm_$siteid; $3" ;;
    kill-ctl) site_vars "$2"; kill9 "$site-slurmctld" ;;
    start-ctl) site_vars "$2"; start_ctl; wait_for "slurmctld of $site" ctl_up ;;
    *) sed -n '2,25p' "$0" | sed 's/^# \{0,1\}//'; exit 2 ;;
esac
