"""The one table of sbatch's options (sbatch(1) up to Slurm 26.05) and of Meyrin's own beside them.

Every option of sbatch stands here once: honoured, with its reader, or refused, with the reason
and the way out. docs/sbatch.md shows this table, and a test holds the two together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from meyrin.client.sbatch import readers
from meyrin.client.sbatch.readers import Reader

Takes = Literal["nothing", "a value", "maybe a value"]
NOTHING: Takes = "nothing"
VALUE: Takes = "a value"
MAYBE: Takes = "maybe a value"


@dataclass(frozen=True, slots=True)
class Option:
    """One row. `read` is None for a refused option; then `why` says why and `way_out` what to do.

    `variables` are the environment variables that set it, the stronger last. `harmless` are
    values of a refused option that ask for what happens anyway.
    """

    name: str
    takes: Takes
    read: Reader | None = None
    letter: str = ""
    variables: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    meaning: str = ""
    why: str = ""
    way_out: str = ""
    harmless: tuple[str, ...] = ()


def _yes(
    name: str,
    takes: Takes,
    read: Reader,
    meaning: str,
    letter: str = "",
    variables: str = "",
    also: str = "",
) -> Option:
    return Option(
        name, takes, read, letter, tuple(variables.split()), tuple(also.split()), meaning=meaning
    )


def _no(
    name: str,
    takes: Takes,
    why: str,
    way_out: str,
    letter: str = "",
    variables: str = "",
    also: str = "",
    harmless: str = "",
) -> Option:
    return Option(
        name, takes, None, letter, tuple(variables.split()), tuple(also.split()),
        why=why, way_out=way_out, harmless=tuple(harmless.split()),
    )  # fmt: skip


HONOURED: tuple[Option, ...] = (
    _yes("account", VALUE, readers.text("project", "a project"), "the project that pays", "A",
         "SBATCH_ACCOUNT"),
    _yes("array", VALUE, readers.array, "indices, ranges, steps and `%limit`", "a",
         "SBATCH_ARRAY_INX"),
    _yes("begin", VALUE, readers.begin, "not before this moment", "b"),
    _yes("chdir", VALUE, readers.text("chdir", "a directory"), "the job's directory at the site",
         "D"),
    _yes("clusters", VALUE, readers.sites, "sites, one of them is chosen; `all` is any", "M",
         "SLURM_CLUSTERS SBATCH_CLUSTERS", "cluster"),
    _yes("comment", VALUE, readers.comment, "kept with the job"),
    _yes("constraint", VALUE, readers.constraint, "features of every node, `a` or `a&b`", "C",
         "SBATCH_CONSTRAINT"),
    _yes("cpus-per-task", VALUE, readers.count("cores_per_task", "cores"), "cores of a task", "c"),
    _yes("deadline", VALUE, readers.deadline,
         "the job expires if it can't end in time; what runs goes on"),
    _yes("dependency", VALUE, readers.dependency,
         "`afterok`, `afterany`, `afternotok`, `singleton`; `,` all or `?` any", "d"),
    _yes("error", VALUE, readers.file_name("stderr"), "file of standard error", "e",
         "SBATCH_ERROR"),
    _yes("exclusive", MAYBE, readers.exclusive, "whole nodes for this job; plain only", "",
         "SBATCH_EXCLUSIVE"),
    _yes("export", VALUE, readers.export,
         "variables that travel: `ALL`, `NONE`, or names and NAME=VALUE", "", "SBATCH_EXPORT"),
    _yes("gpus", VALUE, readers.gpus, "GPUs of the job, `2` or `a100:2`", "G", "SBATCH_GPUS"),
    _yes("gpus-per-node", VALUE, readers.gpus, "GPUs of each node", "", "SBATCH_GPUS_PER_NODE"),
    _yes("gpus-per-task", VALUE, readers.gpus, "GPUs of each task", "", "SBATCH_GPUS_PER_TASK"),
    _yes("gres", VALUE, readers.gres, "GPUs of each node, `gpu:2` or `gpu:a100:2`; no others", "",
         "SBATCH_GRES"),
    _yes("hold", NOTHING, readers.request_flag("held", value=True), "waits for a release", "H"),
    _yes("ignore-pbs", NOTHING, readers.client_flag("ignore_pbs"),
         "passes over #PBS and #BSUB lines", "", "SBATCH_IGNORE_PBS"),
    _yes("input", VALUE, readers.file_name("stdin"),
         "file of standard input; on the command line only as `-i`", "i", "SBATCH_INPUT"),
    _yes("job-name", VALUE, readers.job_name, "the job's name", "J", "SBATCH_JOB_NAME"),
    _yes("kill-on-invalid-dep", VALUE, readers.kill_on_invalid_dep,
         "`yes` or `no`: cancel when a dependency can't come true"),
    _yes("mail-type", VALUE, readers.mail_type, "`NONE` only: the hub sends no mail"),
    _yes("mem", VALUE, readers.memory("node"), "memory of each node; 0 is all of it", "",
         "SBATCH_MEM_PER_NODE"),
    _yes("mem-per-cpu", VALUE, readers.memory("core"), "memory for each core", "",
         "SBATCH_MEM_PER_CPU"),
    _yes("mem-per-gpu", VALUE, readers.memory("accelerator"), "memory for each GPU", "",
         "SBATCH_MEM_PER_GPU"),
    _yes("nice", MAYBE, readers.nice, "lowers the job among yours; 0 or more, plain is 100"),
    _yes("no-requeue", NOTHING, readers.request_flag("requeue", value=False),
         "never run twice; the later of the two counts", "", "SBATCH_NO_REQUEUE"),
    _yes("nodes", VALUE, readers.nodes, "N or MIN-MAX", "N"),
    _yes("ntasks", VALUE, readers.count("tasks", "tasks"), "tasks of the job", "n"),
    _yes("ntasks-per-node", VALUE, readers.count("tasks_per_node", "tasks"), "tasks of each node",
         also="tasks-per-node"),
    _yes("open-mode", VALUE, readers.open_mode, "`append` or `truncate` output files", "",
         "SBATCH_OPEN_MODE"),
    _yes("output", VALUE, readers.file_name("stdout"), "file of standard output", "o",
         "SBATCH_OUTPUT"),
    _yes("parsable", NOTHING, readers.client_flag("parsable"), "prints the number alone"),
    _yes("partition", VALUE, readers.partition, "partitions, one of them is chosen", "p",
         "SBATCH_PARTITION"),
    _yes("quiet", NOTHING, readers.client_flag("quiet"), "prints errors only", "Q"),
    _yes("requeue", MAYBE, readers.request_flag("requeue", value=True),
         "a Slurm site queues it again that took its nodes away or lost one; plain only", "",
         "SBATCH_REQUEUE"),
    _yes("signal", VALUE, readers.signal, "`[B:]NAME[@SECONDS]` before the wall time ends", "",
         "SBATCH_SIGNAL"),
    _yes("test-only", NOTHING, readers.client_flag("test_only"),
         "says where and when it would start"),
    _yes("time", VALUE, readers.walltime, "minutes, MM:SS, HH:MM:SS, D-HH[:MM[:SS]]", "t",
         "SBATCH_TIMELIMIT"),
    _yes("verbose", NOTHING, readers.client_flag("verbose"), "tells what was read", "v",
         "SBATCH_DEBUG"),
    _yes("wait", NOTHING, readers.client_flag("wait"), "ends with the job's exit code", "W",
         "SBATCH_WAIT"),
    _yes("wrap", VALUE, readers.wrap, "a command instead of a script"),
)  # fmt: skip

# beside sbatch's, on the command line only and never abbreviated
OWN: tuple[Option, ...] = (
    _yes("input", VALUE, readers.client_list("inputs"),
         "PATH[=NAME]: a file or folder that travels with the job; repeat it"),
    _yes("output-files", VALUE, readers.output_files, "PATTERN: results to keep; repeat it"),
    _yes("site", VALUE, readers.sites, "the same as --clusters"),
    _yes("idempotency-key", VALUE, readers.idempotency_key,
         "the same key, of 8 to 200 characters, gives the same job"),
    _yes("json", NOTHING, readers.client_flag("json"), "prints data"),
    _yes("dry-run", NOTHING, readers.client_flag("dry_run"), "prints the request, sends nothing"),
)  # fmt: skip

_ANY_NODE = "the broker chooses the nodes, at any site"
_USE_FEATURE = "remove it, or ask for a feature: --constraint"
_LAYOUT = "sockets, threads and bindings differ from site to site"
_COUNT_CORES = "remove it and say --ntasks and --cpus-per-task; srun in the script may bind"
_SITE_SETS = "it is a setting of one cluster"
_REMOVE = "remove it"
_AS_YOU = "a job runs as its submitter"
_PLAIN_LOAD = "load the container in the script: apptainer exec, podman run"
_TOPOLOGY = "the network's layout is known to the site alone"

REFUSED: tuple[Option, ...] = (
    _no("acctg-freq", VALUE, _SITE_SETS, _REMOVE, "", "SBATCH_ACCTG_FREQ"),
    _no("batch", VALUE, _ANY_NODE, _USE_FEATURE, "", "SBATCH_BATCH"),
    _no("bb", VALUE, "Meyrin has no burst buffers", "send files with --input", "",
        "SBATCH_BURST_BUFFER"),
    _no("bbf", VALUE, "Meyrin has no burst buffers", "send files with --input"),
    _no("cluster-constraint", VALUE, "sites have no features of their own",
        "name sites: --clusters", "", "SBATCH_CLUSTER_CONSTRAINT"),
    _no("consolidate-segments", NOTHING, _TOPOLOGY, _REMOVE),
    _no("container", VALUE, "not every site runs OCI bundles", _PLAIN_LOAD, "",
        "SBATCH_CONTAINER"),
    _no("container-id", VALUE, "not every site runs OCI bundles", _PLAIN_LOAD, "",
        "SBATCH_CONTAINER_ID"),
    _no("container-type", VALUE, "not every site runs OCI bundles", _PLAIN_LOAD, "",
        "SBATCH_CONTAINER_TYPE"),
    _no("context", VALUE, _SITE_SETS, _REMOVE),
    _no("contiguous", NOTHING, _TOPOLOGY, _REMOVE),
    _no("core-spec", VALUE, "cores for the system are the site's affair", _REMOVE, "S",
        "SBATCH_CORE_SPEC"),
    _no("cores-per-socket", VALUE, _LAYOUT, _COUNT_CORES),
    _no("cpu-freq", VALUE, "clock rates are the site's affair", _REMOVE),
    _no("cpus-per-gpu", VALUE, "cores are counted by task", "write --cpus-per-task", "",
        "SBATCH_CPUS_PER_GPU"),
    _no("delay-boot", VALUE, "Meyrin boots no nodes", _REMOVE, "", "SBATCH_DELAY_BOOT"),
    _no("distribution", VALUE, _LAYOUT, _COUNT_CORES, "m", "SBATCH_DISTRIBUTION"),
    _no("exclude", VALUE, _ANY_NODE, _USE_FEATURE, "x"),
    _no("export-file", VALUE, "variables travel by name", "write --export=NAME=VALUE,..."),
    _no("extra", VALUE, "it speaks to a site's own plugins", _REMOVE),
    _no("extra-node-info", VALUE, _LAYOUT, _COUNT_CORES, "B"),
    _no("get-user-env", MAYBE, "the log-in environment is the site's",
        "set what the job needs in the script", "", "SBATCH_GET_USER_ENV"),
    _no("gid", VALUE, _AS_YOU, _REMOVE),
    _no("gpu-bind", VALUE, _LAYOUT, _COUNT_CORES, "", "SBATCH_GPU_BIND", harmless="none"),
    _no("gpu-freq", VALUE, "clock rates are the site's affair", _REMOVE, "", "SBATCH_GPU_FREQ"),
    _no("gpus-per-socket", VALUE, _LAYOUT, "write --gpus-per-node or --gpus", "",
        "SBATCH_GPUS_PER_SOCKET"),
    _no("gres-flags", VALUE, _LAYOUT, _REMOVE, "", "SBATCH_GRES_FLAGS"),
    _no("help", NOTHING, "it submits nothing", "ask `meyrin submit --help` alone", "h"),
    _no("hint", VALUE, _LAYOUT, _COUNT_CORES, "", "SLURM_HINT SBATCH_HINT"),
    _no("licenses", VALUE, "Meyrin counts no licences", "ask for a partition that has them: -p",
        "L"),
    _no("mail-user", VALUE, "the hub sends no mail", "remove it, or wait: --wait"),
    _no("mcs-label", VALUE, _SITE_SETS, _REMOVE),
    _no("mem-bind", VALUE, _LAYOUT, _COUNT_CORES, "", "SBATCH_MEM_BIND",
        harmless="none no n q quiet"),
    _no("mem-update", VALUE, "a job's size is fixed when it is placed", "write --mem"),
    _no("mincpus", VALUE, "cores are counted by task", "write --cpus-per-task"),
    _no("network", VALUE, _TOPOLOGY, _REMOVE, "", "SBATCH_NETWORK"),
    _no("no-kill", MAYBE, "a job that loses a node ends", _REMOVE, "k", "SBATCH_NO_KILL",
        harmless="off"),
    _no("nodefile", VALUE, _ANY_NODE, _USE_FEATURE, "F"),
    _no("nodelist", VALUE, _ANY_NODE, _USE_FEATURE, "w"),
    _no("ntasks-per-core", VALUE, _LAYOUT, _COUNT_CORES),
    _no("ntasks-per-gpu", VALUE, "GPUs are counted by task", "write --gpus-per-task",
        also="ntasks-per-tres"),
    _no("ntasks-per-socket", VALUE, _LAYOUT, "write --ntasks-per-node"),
    _no("oom-kill-step", MAYBE, _SITE_SETS, _REMOVE),
    _no("overcommit", NOTHING, "each task has its own core", "write fewer --ntasks", "O",
        "SBATCH_OVERCOMMIT"),
    _no("oversubscribe", NOTHING, "a core runs one job at a time",
        "remove it; parts of a node are shared unless --exclusive says no", "s", also="share"),
    _no("power", VALUE, _SITE_SETS, _REMOVE, "", "SBATCH_POWER"),
    _no("prefer", VALUE, "features are needed or not", "write --constraint"),
    _no("priority", VALUE, "the broker's policy orders jobs", "lower this one with --nice"),
    _no("profile", VALUE, "the site chooses what it measures", _REMOVE, "", "SBATCH_PROFILE",
        harmless="none None NONE"),
    _no("propagate", MAYBE, "limits of this machine don't suit another",
        "set them in the script: ulimit", harmless="none NONE"),
    _no("qos", VALUE, "quality of service is one cluster's word",
        "remove it; the project's allocation and --nice decide", "q", "SBATCH_QOS"),
    _no("reboot", NOTHING, "Meyrin boots no nodes", _REMOVE),
    _no("reservation", VALUE, "reservations belong to one cluster",
        "ask the site to lend the reserved nodes as a partition, then -p", "",
        "SBATCH_RESERVATION"),
    _no("resources", VALUE, _SITE_SETS, "write --gpus, --mem and --cpus-per-task"),
    _no("resv-ports", MAYBE, _SITE_SETS, _REMOVE),
    _no("segment", VALUE, _TOPOLOGY, _REMOVE, "", "SBATCH_SEGMENT_SIZE"),
    _no("sockets-per-node", VALUE, _LAYOUT, _COUNT_CORES),
    _no("spread-job", NOTHING, _ANY_NODE, "write --ntasks-per-node", "", "SBATCH_SPREAD_JOB"),
    _no("spread-segments", NOTHING, _TOPOLOGY, _REMOVE),
    _no("stepmgr", NOTHING, _SITE_SETS, _REMOVE),
    _no("switches", VALUE, _TOPOLOGY, _REMOVE, "", "SBATCH_REQ_SWITCH SBATCH_WAIT4SWITCH"),
    _no("thread-spec", VALUE, "threads for the system are the site's affair", _REMOVE, "",
        "SBATCH_THREAD_SPEC"),
    _no("threads-per-core", VALUE, _LAYOUT, _COUNT_CORES, "", "SBATCH_THREADS_PER_CORE"),
    _no("time-min", VALUE, "hours are held for one wall time", "write --time"),
    _no("tmp", VALUE, "Meyrin counts no local disks", "ask for a partition with enough: -p"),
    _no("tres-bind", VALUE, _LAYOUT, _COUNT_CORES, "", "SBATCH_TRES_BIND"),
    _no("tres-per-task", VALUE, "each resource has its own option",
        "write --cpus-per-task and --gpus-per-task", "", "SBATCH_TRES_PER_TASK"),
    _no("uid", VALUE, _AS_YOU, _REMOVE),
    _no("usage", NOTHING, "it submits nothing", "ask `meyrin submit --help` alone"),
    _no("use-min-nodes", NOTHING, "the broker takes the fewest nodes that serve",
        "write --nodes=N", "", "SBATCH_USE_MIN_NODES"),
    _no("version", NOTHING, "it submits nothing", "ask `meyrin --version` alone", "V"),
    _no("wait-all-nodes", VALUE, "when the first node may start is the site's affair", _REMOVE, "",
        "SBATCH_WAIT_ALL_NODES", harmless="0"),
    _no("wckey", VALUE, "usage is kept by project", "write --account, or --comment for a note",
        "", "SBATCH_WCKEY"),
)  # fmt: skip

SBATCH: tuple[Option, ...] = tuple(sorted(HONOURED + REFUSED, key=lambda option: option.name))
BY_NAME: dict[str, Option] = {o.name: o for o in SBATCH} | {n: o for o in SBATCH for n in o.also}
BY_LETTER: dict[str, Option] = {o.letter: o for o in SBATCH if o.letter}
OWN_BY_NAME: dict[str, Option] = {option.name: option for option in OWN}

# not sbatch's; the hint tells what to do instead
ELSEWHERE: dict[str, str] = {
    **dict.fromkeys(
        ("cpu-bind", "exact", "kill-on-bad-exit", "label", "mpi", "multi-prog", "ntasks-per-step",
         "overlap", "pty", "relative", "task-epilog", "task-prolog", "unbuffered", "x11"),
        "that is an option of srun: write it after srun in the script",
    ),
    "workdir": "its name is --chdir",
    "walltime": "its name is --time",
    "name": "its name is --job-name",
    "immediate": "a Meyrin job waits; --test-only says when it would start",
    "checkpoint": "write checkpoints in the program; --signal warns before the end",
    "jobid": "jobs get their number from the hub; --idempotency-key makes a submission unique",
}  # fmt: skip
