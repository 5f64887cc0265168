#!/usr/bin/env bash
# Another version of Slurm beside the one of this system: a small Debian or Ubuntu of the
# suite that has it, in a folder of its own, and a command that finds its programs first.
# What slurm.sh starts in there, and the tests with it, are of that version. Run as root.
#
#   other-version.sh FOLDER SUITE MIRROR COMMAND...
#
#   FOLDER    made at the first time (about 250 MB), used again later
#   SUITE     bullseye, noble, trixie, forky ... ; MIRROR an archive that has it
#   KEYRING   (variable) keys of the archive, where debootstrap has none for it; "none": unchecked
#
#   other-version.sh /var/tmp/forky forky MIRROR bash
#
# Jobs, nodes and daemons see that system, with /tmp, /home, TMPDIR and this checkout of the real one.
# The mounts are in a name space of their own and end with the command.
set -eu
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[ $# -ge 4 ] || { sed -n '2,17p' "$0" | sed 's/^# \{0,1\}//'; exit 2; }
folder=$(mkdir -p "$1" && cd "$1" && pwd) suite=$2 mirror=$3; shift 3
root=$folder/root bin=$folder/bin
. "$here/../lib.sh"
need_root "another system's Slurm"
programs="slurmctld slurmd slurmdbd slurmrestd sbatch squeue sacct sacctmgr scancel scontrol sinfo srun salloc sshare sprio sreport sdiag sstat sattach"

fetch() {
    local packages=slurmctld,slurmd,slurm-client,slurmdbd,slurmrestd,slurm-wlm-basic-plugins,procps options=()
    case ${KEYRING:-} in '') ;; none) options=(--no-check-gpg) ;; *) options=(--keyring="$KEYRING") ;; esac
    # the suites differ in how they cut Slurm into packages
    case $suite in bullseye|focal) ;; *) packages+=,slurm-wlm-jwt-plugin,slurm-wlm-mysql-plugin ;; esac
    case $suite in focal|jammy|noble|plucky|questing) options+=(--components=main,universe) ;; esac
    local script=/usr/share/debootstrap/scripts/$suite
    [ -e "$script" ] || script=/usr/share/debootstrap/scripts/sid    # newer than debootstrap
    say "fetching $suite into $root"
    rm -rf "$folder/making"
    debootstrap --variant=minbase "${options[@]}" --include="$packages" "$suite" "$folder/making" "$mirror" "$script" \
        >"$folder/debootstrap.log" 2>&1 || { tail -5 "$folder/debootstrap.log" >&2; die "debootstrap; see $folder/debootstrap.log"; }
    rm -rf "$folder/making/var/cache/apt" "$folder/making/var/lib/apt/lists"
    mv "$folder/making" "$root"
}

prepare() {
    local each place
    # daemons drop to other users before they become theirs, so the way in must not need root
    mkdir -p "$bin"; cp "$(command -v chroot)" "$folder/enter"; setcap cap_sys_chroot+ep "$folder/enter"
    : >"$root/.other-slurm"
    for each in $programs; do
        place=$(cd "$root" && ls "usr/sbin/$each" "usr/bin/$each" 2>/dev/null | head -1) || true
        [ -n "$place" ] || continue
        # inside already (a job that asks Slurm): as it is. Else with the working folder kept.
        cat >"$bin/$each" <<SH
#!/bin/sh
[ -e /.other-slurm ] && exec /$place "\$@"
exec $folder/enter $root /bin/sh -c 'cd "\$1"; shift; exec "\$@"' sh "\$(pwd -P)" /$place "\$@"
SH
        chmod 755 "$bin/$each"
    done
    for each in mtb1 mtb2 mtb3; do id "$each" >/dev/null 2>&1 || useradd -m -s /bin/bash "$each"; done
    id slurmrest >/dev/null 2>&1 || useradd -r -M -s /usr/sbin/nologin slurmrest
    cp /etc/passwd /etc/group /etc/hosts "$root/etc/"
}

mkdir -p "$folder/log"
command -v debootstrap >/dev/null && command -v setcap >/dev/null || (MTB_DIR=$folder; apt_need debootstrap libcap2-bin)
[ -d "$root" ] || fetch
prepare
say "$(cd / && "$bin/slurmctld" -V 2>/dev/null || echo "no Slurm in $root") of $suite"
export PATH=$bin:$PATH MEYRIN_OTHER_SLURM=$suite
inside='
for each in proc sys dev; do mount --rbind "/$each" "$OTHER_ROOT/$each"; done
for each in /tmp /home "${TMPDIR:-/tmp}" "$OTHER_CHECKOUT"; do
    mkdir -p "$OTHER_ROOT$each"; mountpoint -q "$OTHER_ROOT$each" || mount --bind "$each" "$OTHER_ROOT$each"
done
exec "$@"'
OTHER_ROOT=$root OTHER_CHECKOUT=$(cd "$here/../.." && pwd) \
    exec unshare --mount --propagation private bash -ec "$inside" other-version "$@"
