#!/usr/bin/env bash
# A private PostgreSQL on 127.0.0.1, without systemd.   postgres.sh up | down | restart | kill9 | status | dsn | reset
# Settings (defaults in brackets):
#   MTB_DIR; PG_PORT [a free one from 17500 on, then kept]  PG_DB [meyrin]  PG_USER [meyrin]  PG_PASSWORD [meyrin-testbed]
#   PG_DURABLE [1]  0: fsync off and little WAL, for throw-away unit tests
#   PG_MAX_CONN [100]
# As root it runs as the user "postgres" of the Debian package; as another user, as that user.
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../lib.sh"
P=$MTB_DIR/pg; PG_PORT=${PG_PORT:-$(cat "$P/port" 2>/dev/null)}; PG_DB=${PG_DB:-meyrin}; PG_USER=${PG_USER:-meyrin}
PG_PASSWORD=${PG_PASSWORD:-meyrin-testbed}; PG_DURABLE=${PG_DURABLE:-1}; PG_MAX_CONN=${PG_MAX_CONN:-100}
dsn() { echo "postgresql://$PG_USER:$PG_PASSWORD@127.0.0.1:$PG_PORT/$PG_DB"; }

bindir() { ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1; }
me() { if [ "$(id -u)" = 0 ]; then priv postgres; else PRIV=(); fi; }
sql() { "${PRIV[@]}" "$B/psql" -h "$P" -p "$PG_PORT" -d "${2:-postgres}" -qAtc "$1"; }

start() {
    local extra=()
    [ "$PG_DURABLE" = 1 ] || extra=(-c fsync=off -c synchronous_commit=off -c full_page_writes=off
        -c wal_level=minimal -c max_wal_senders=0 -c min_wal_size=32MB -c max_wal_size=128MB)
    spawn postgres "${PRIV[@]}" "$B/postgres" -D "$P/data" -p "$PG_PORT" -k "$P" -c listen_addresses=127.0.0.1 \
        -c max_connections="$PG_MAX_CONN" -c shared_buffers=128MB -c logging_collector=off "${extra[@]}"
    # a server that could not take the port has ended: no use in waiting for it
    wait_for PostgreSQL eval "sql 'select 1' || ! running postgres"
    running postgres && sql 'select 1' >/dev/null
}
# Somebody else may take a port between the look and the start: then the next one. Several that
# start at once begin to look at different places.
start_on_free_port() {
    local try first=${PG_PORT:-$((17500 + $$ % 50 * 20))}
    for try in 1 2 3 4 5; do
        running postgres || PG_PORT=$(free_port "$first")
        if start; then echo "$PG_PORT" >"$P/port"; return; fi
        stop postgres; first=$((PG_PORT + 1))
    done
    die "PostgreSQL did not start, see $MTB_DIR/log/postgres.out"
}
up() {
    mtb_dirs
    # only the server binaries: the postgresql metapackage would also make a cluster of its own
    if [ -z "$(bindir)" ]; then
        apt_need postgresql-common
        sed -i 's/^#\?create_main_cluster.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf
        apt_need postgresql
    fi
    B=$(bindir); me; mkdir -p "$P"
    [ ${#PRIV[@]} = 0 ] || chown postgres: "$P"
    if [ ! -e "$P/data/PG_VERSION" ]; then
        "${PRIV[@]}" "$B/initdb" -D "$P/data" -U "$(id -un "$([ ${#PRIV[@]} = 0 ] && id -u || echo postgres)")" \
            --auth-local=peer --auth-host=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8 >"$MTB_DIR/log/initdb.out" 2>&1 || die "initdb failed, see $MTB_DIR/log/initdb.out"
    fi
    start_on_free_port
    [ "$(sql "select 1 from pg_roles where rolname='$PG_USER'")" = 1 ] || sql "create role \"$PG_USER\" login createdb password '$PG_PASSWORD'"
    [ "$(sql "select 1 from pg_database where datname='$PG_DB'")" = 1 ] || sql "create database \"$PG_DB\" owner \"$PG_USER\""
    say "$(dsn)"
}
B=$(bindir); [ "${1:-}" = up ] || me
case ${1:-} in
    up) up ;;
    down) p=$(pid_of postgres) && [ -n "$p" ] && kill -INT "$p" 2>/dev/null; stop postgres ;;   # INT: fast shutdown
    restart) p=$(pid_of postgres) && [ -n "$p" ] && kill -INT "$p" 2>/dev/null; stop postgres; start || die "PostgreSQL did not start again" ;;
    kill9) kill9 postgres ;;
    status) list_pids | grep '^postgres' ;;
    dsn) dsn ;;
    reset) sql "drop database if exists \"$PG_DB\" with (force)"; sql "create database \"$PG_DB\" owner \"$PG_USER\"" ;;
    *) sed -n '2,7p' "$0" | sed 's/^# \{0,1\}//'; exit 2 ;;
esac
