"""The transport over slurmrestd: the same questions as by commands, put as HTTP.

Three things are never asked: all of accounting (13 s and 40 MB on a small site), accounting with
a time in the same question as ids (old versions cut the times of jobs at it), and anything twice.
"""

from __future__ import annotations

import pwd
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import structlog

from meyrin.agent.slurm import rest_facts, words
from meyrin.agent.slurm import rest_values as v
from meyrin.agent.slurm.rest_http import Answer, Http, Token
from meyrin.agent.slurm.rest_versions import VERSIONS, Version, spelt
from meyrin.agent.slurm.transport import (
    AccountingRow,
    ClusterFacts,
    Health,
    NotAccepted,
    QueueRow,
    Submission,
)
from meyrin.domain.errors import InvalidInput, Unreachable

if TYPE_CHECKING:
    import httpx2

    from meyrin.agent.config import SlurmConfig

log = structlog.get_logger("meyrin.slurm")
PER_QUESTION = 200
_LOOK_AT = "look at the token (rest_token_file or rest_token_command) and whose it is (rest_user)"
_GONE = {2017, 2021}  # no such job; it has ended already
_GONE_WORDS = ("invalid job id", "already completing or completed")
# a no that may be a yes at another time: no record of it could be made, busy nodes, a state in
# change, a backup controller or one that stands by, limits of accounting, too many jobs for now
_POLICY = 2050  # too many jobs, or a job too large: one number for both
# partition, account, QoS or reservation: what the site has in hand, not the job
_NOT_NOW = {2000, 2003, 2015, 2045, 2052, 2053, 2055, 2056, 2066, 2070, 2101, 2118}
_DENIED = 2002  # to all of a shut partition, or to one job by a plugin of the site
_LATER = {11, 2007, 2016, 2019, 2020, 2027, 2131, _POLICY} | _NOT_NOW
_NOT_TAKEN = 1800  # slurmrestd could not connect to the controller, so nothing was sent
_COMMUNICATION = {*range(1000, 1100), *range(1800, 1900)}
_REFUSED_BY_REST = range(9000, 9300)
_REFUSED_BY_CONTROLLER = range(2000, 5000)


class Rest:
    """A `Transport` over one slurmrestd. `user` is who the token is of; see `transport` for the
    promises of each call."""

    def __init__(
        self,
        config: SlurmConfig,
        user: str,
        clock_s: Callable[[], float],
        transport: httpx2.BaseTransport | None = None,
        uid_of: Callable[[str], int | None] | None = None,
    ) -> None:
        token = Token(config.rest_token_file, config.rest_token_command, clock_s)
        self.user = config.rest_user or user
        self._http = Http(
            config.rest_url, self.user, token, config.command_timeout_s, transport=transport
        )
        known = [each for each in VERSIONS if config.rest_version in (None, each.name)]
        if not known:
            raise InvalidInput(
                f"rest_version {config.rest_version!r} is none that is known here",
                hint=f"from {VERSIONS[-1].name} to {VERSIONS[0].name}, or leave it out",
                field="slurm.rest_version",
            )
        self._choices = tuple(known)
        # whoever speaks the oldest is asked for its release first
        fixed = config.rest_version and known[0] is not VERSIONS[-1]
        self._chosen: Version | None = known[0] if fixed else None
        self._choosing = threading.Lock()
        self._uid = (uid_of or _uid)(self.user)

    def close(self) -> None:
        self._http.close()

    @property
    def at_once(self) -> int:
        """Few where each takes a question of its own."""
        return 8 if self._chosen is None or self._chosen.by_one else 1000

    # --- asking

    def submit(self, submission: Submission) -> str:
        try:
            version = self._version()
        except Unreachable as error:
            raise Unreachable(error.message, hint=error.hint, sent=False) from error
        body = spelt(version, submission)
        answer = self._http.ask("POST", f"/slurm/{version.name}/job/submit", body=body)
        made = v.number(answer.body.get("job_id")) or v.number(v.at(answer.body, "result/job_id"))
        if made:
            return str(made)  # also with a warning beside it
        self._forget_if_gone(answer)
        if _is_no(answer.numbers):
            later, unsure = bool(answer.numbers & _LATER), _POLICY in answer.numbers
            denied = _DENIED in answer.numbers
            raise NotAccepted(answer.words, later=later, unsure=unsure, denied=denied)
        words = f"slurmrestd on a submission: {answer.words}"
        away = answer.turned_away(token=bool(self._http.token))
        sent = not away and answer.numbers != {_NOT_TAKEN}
        raise Unreachable(words, sent=sent, unclear=_is_unclear(answer.numbers))

    def queue(self, names: Sequence[str] | None = None) -> list[QueueRow]:
        wanted = None if names is None else set(names)
        return [
            queue_row(job, self._name_of(job))
            for job in self._jobs()
            if self._is_own(job) and (wanted is None or job.get("name") in wanted)
        ]

    def whole_queue(self) -> list[QueueRow]:
        rows = (queue_row(job | {"name": ""}, self._name_of(job)) for job in self._jobs())
        return [row for row in rows if row.state in _LIVE]

    def accounting(
        self, names: Sequence[str], since_s: int, batch_jobs: Sequence[str] = ()
    ) -> list[AccountingRow]:
        ids = {each.partition("_")[0] for each in batch_jobs}
        if not ids:
            ids = self._ids(names, since_s)
        wanted = set(names)
        rows = []
        version = self._version()
        for some in _chunks(sorted(ids, key=int), 1 if version.by_one else PER_QUESTION):
            for job in self._accounted({"step": ",".join(some)}):
                row = accounting_row(job, version)
                named = row.user in ("", self.user) and (not wanted or row.name in wanted)
                if named or (batch_jobs and row.unnamed):
                    rows.append(row)
        return rows

    def cancel(self, batch_jobs: Sequence[str]) -> None:
        version = self._version()
        for each in batch_jobs:
            answer = self._http.ask("DELETE", f"/slurm/{version.name}/job/{each}")
            if answer.good or _is_over(answer):
                continue
            self._forget_if_gone(answer)
            if _is_of_all(answer):
                raise Unreachable(f"slurmrestd on ending job {each}: {answer.words}")
            # the others are ended still, and whoever wants its end asks again
            log.warning("slurm.not_ended", batch_job=each, error=answer.words)

    def describe(self) -> ClusterFacts:
        version = self._version()
        ping = self._get(f"/slurm/{version.name}/ping")
        partitions = self._get(f"/slurm/{version.name}/partitions")
        nodes = self._get(f"/slurm/{version.name}/nodes")
        associations = self._http.ask(
            "GET", f"/slurmdb/{version.name}/associations", {"user": self.user}
        )
        if _is_nowhere(associations):
            return rest_facts.cluster(self.user, ping.body, partitions.body, nodes.body)
        if associations.status != 404:  # else: none of this user's
            self._check(associations, "associations")
        qos = self._get(f"/slurmdb/{version.name}/qos")
        return rest_facts.cluster(
            self.user, ping.body, partitions.body, nodes.body, associations.body, qos.body
        )

    def health(self) -> Health:
        try:
            version = self._version()
            ping = self._http.ask("GET", f"/slurm/{version.name}/ping")
            self._forget_if_gone(ping)
            controller = ping.good and rest_facts.answers(ping.body)
            database = self._http.ask("GET", f"/slurmdb/{version.name}/clusters")
        except Unreachable as error:
            return Health(controller=False, accounting=None, words=error.message)
        there = database.good and not database.empty
        accounting = None if _is_nowhere(database) else there
        said = [ping.words] if not controller else []
        said += [database.words] if accounting is False else []
        return Health(controller=controller, accounting=accounting, words="; ".join(said))

    # --- the way there

    def _version(self) -> Version:
        """The newest version that both sides know; asked once."""
        with self._choosing:
            if self._chosen is None:
                self._chosen = self._choose()
            return self._chosen

    def _choose(self) -> Version:
        for version in self._choices:
            answer = self._http.ask("GET", f"/slurm/{version.name}/ping")
            if not _is_nowhere(answer):
                _object(answer)
                return version
        known = ", ".join(each.name for each in self._choices) or "none"
        raise Unreachable(
            f"slurmrestd at {self._http.url} knows none of our versions ({known})",
            hint="load one of its openapi plugins, or set rest_version",
        )

    def _forget_if_gone(self, answer: Answer) -> None:
        """slurmrestd was replaced by one that lacks the version: choose anew next time."""
        if _is_nowhere(answer) and len(self._choices) > 1:
            with self._choosing:
                self._chosen = None

    def _get(self, path: str, filters: dict[str, str] | None = None) -> Answer:
        answer = self._http.ask("GET", path, filters)
        self._check(answer, path)
        return answer

    def _check(self, answer: Answer, what: str) -> None:
        if not answer.good:
            self._forget_if_gone(answer)
            hint = "" if answer.unauthenticated or not self._http.token else "see `scontrol ping`; "
            hint += _LOOK_AT if self._http.token or answer.unauthenticated else ""
            raise Unreachable(f"slurmrestd on {what}: {answer.words}", hint=hint)

    def _jobs(self) -> list[dict[str, Any]]:
        """The whole queue: no version can be asked for less of it."""
        answer = self._get(f"/slurm/{self._version().name}/jobs")
        return _list(answer, "jobs")

    def _accounted(self, filters: dict[str, str]) -> list[dict[str, Any]]:
        answer = self._get(f"/slurmdb/{self._version().name}/jobs", filters)
        return [] if answer.empty else _list(answer, "jobs")

    def _ids(self, names: Sequence[str], since_s: int) -> set[str]:
        """The ids of the jobs with these names, or of all own ones: all that a question with a
        time in it is good for."""
        version = self._version()
        since = {"start_time": f"uts{since_s}"}
        if not version.all_steps:
            since["skip_steps"] = "true"
        found: list[dict[str, Any]] = []
        if names:
            for some in _chunks(names):
                found += self._accounted(since | {"job_name": ",".join(some)})
        elif version.users:
            found = self._accounted(since | {version.users: self.user})
        else:  # it can't be asked by user: by account, and others' are left out
            for one in self._accounts():
                jobs = self._accounted(since | {"account": one})
                found += [job for job in jobs if self._is_accounted_own(job)]
        return {str(family) for job in found if (family := _family(job))}

    def _accounts(self) -> list[str]:
        """The accounts that this user may use."""
        filters = {"user": self.user}
        answer = self._http.ask("GET", f"/slurmdb/{self._version().name}/associations", filters)
        if answer.status == 404 or answer.empty:
            return []
        self._check(answer, "associations")
        return sorted({v.text(one.get("account")) for one in _list(answer, "associations")})

    def _is_accounted_own(self, job: dict[str, Any]) -> bool:
        return v.text(job.get("user") or v.at(job, "association/user")) in ("", self.user)

    def _is_own(self, job: dict[str, Any]) -> bool:
        return self._name_of(job) == self.user

    def _name_of(self, job: dict[str, Any]) -> str:
        """v0.0.36 gives numbers of users and leaves their names empty."""
        name = v.text(job.get("user_name"))
        if name:
            return name
        number = v.number(job.get("user_id"))
        if number is not None and number == self._uid:
            return self.user
        return f"uid {number}"


_LIVE = {
    "PENDING", "RUNNING", "SUSPENDED", "CONFIGURING", "COMPLETING", "STAGE_OUT", "RESIZING",
    "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "STOPPED", "SIGNALING",
    "RESV_DEL_HOLD",
}  # fmt: skip


def queue_row(job: dict[str, Any], user: str) -> QueueRow:
    """A job of the live queue, from any version."""
    code, signal = v.exit_code(job.get("exit_code"))
    state = v.state(job.get("job_state"))
    nodes = v.text(job.get("nodes"))
    held = v.text(job.get("tres_alloc_str")) or v.text(job.get("tres_req_str"))
    return QueueRow(
        batch_job=v.job_id(
            job.get("job_id"),
            job.get("array_job_id"),
            job.get("array_task_id"),
            v.text(job.get("array_task_string")),
        ),
        name=v.text(job.get("name")),
        user=user,
        partition=v.text(job.get("partition")),
        state=state,
        reason="" if job.get("state_reason") == "None" else v.text(job.get("state_reason")),
        account=v.text(job.get("account")) or None,
        qos=v.text(job.get("qos")) or None,
        submit_s=v.moment(job.get("submit_time")),
        start_s=v.moment(job.get("start_time")) if nodes else None,  # else a guess, or never
        end_s=None if state in _LIVE else v.moment(job.get("end_time")),
        walltime_s=v.minutes_as_s(job.get("time_limit")),
        nodes=v.number(job.get("node_count")),
        cores=v.number(job.get("cpus")),
        memory_mb=words.memory_mb(words.tres(held).get("mem", "")),
        accelerators=_accelerators(job, held),
        priority=v.number(job.get("priority")),
        exit_code=None if state in _LIVE else code,
        signal=None if state in _LIVE else signal,
        restarts=v.number(job.get("restart_cnt")),
        node_list=nodes,
    )


def _accelerators(job: dict[str, Any], held: str) -> int | None:
    """As Slurm counts them, or where it does not (AccountingStorageTRES), as they were asked."""
    counted = words.accelerators(held)
    if counted:
        return counted
    times = {"tres_per_job": 1, "tres_per_node": v.number(job.get("node_count")),
             "tres_per_task": v.number(job.get("tasks"))}  # fmt: skip
    for key, many in times.items():
        asked = [each.count for each in words.gres(v.text(job.get(key))) if each.name == "gpu"]
        if asked:
            return None if many is None else sum(asked) * many
    return counted


def accounting_row(job: dict[str, Any], version: Version) -> AccountingRow:
    """A job of accounting, from any version."""
    steps = job.get("steps") or []
    held = v.tres(v.at(job, "tres/allocated"))
    state = v.state(job.get("state"))
    code, signal = v.exit_code(job.get("exit_code"))
    if state == "FAILED" and code == 0:
        code = None  # Slurm 22.05 says SUCCESS here of whatever ended with a code of its own
    rss = v.largest(steps, "mem")
    nodes = v.text(job.get("nodes"))
    waits = words.is_to_begin(state)
    began = not waits and nodes not in ("", "None assigned")
    ended = not waits and state not in ("RUNNING", "SUSPENDED")
    end_s = v.moment(v.at(job, "time/end")) if ended else None
    elapsed_s = v.number(v.at(job, "time/elapsed"))
    start_s = v.moment(v.at(job, "time/start")) if began else None
    if version.start_is_eligible:
        known = began and end_s is not None and elapsed_s is not None
        start_s = end_s - elapsed_s if known and end_s and elapsed_s is not None else None
    energy = words.number(words.tres(held).get("energy", ""))
    cores = words.number(words.tres(held).get("cpu", ""))
    return AccountingRow(
        batch_job=v.job_id(
            job.get("job_id"), v.at(job, "array/job_id"), v.at(job, "array/task_id")
        ),
        name=v.text(job.get("name")),
        user=v.text(job.get("user") or v.at(job, "association/user")),
        partition=v.text(job.get("partition")),
        state=state,
        account=v.text(job.get("account")) or None,
        reason=_reason(v.at(job, "state/reason")),
        exit_code=code if ended else None,
        signal=signal if ended else None,
        submit_s=v.moment(v.at(job, "time/submission")),
        start_s=start_s,
        end_s=end_s,
        elapsed_s=elapsed_s,
        nodes=v.number(job.get("allocation_nodes")),
        cores=cores if cores is not None else v.number(v.at(job, "required/CPUs")),
        accelerators=words.accelerators(held),
        tres=held,
        cpu_ms=v.cpu_ms(steps),
        max_rss_kb=None if rss is None else -(-rss // 1024),
        energy_j=energy or None,
        node_list="" if nodes == "None assigned" else nodes,
    )


def _object(answer: Answer) -> None:
    """Slurm 20.11 itself, which brought v0.0.36, can't be trusted with it: its accounting says
    reasons for states and SUCCESS of everything, and a filter by account ends slurmrestd."""
    release = v.text(v.at(answer.body, "meta/Slurm/release"))
    if release.startswith("20."):
        raise Unreachable(
            f"slurmrestd of Slurm {release} does not tell how jobs ended",
            hint='use Slurm\'s commands: transport = "command"',
        )


def _is_nowhere(answer: Answer) -> bool:
    """Whether there is no such question: not loaded, or not of this version. What was asked for
    and is not there comes with words in JSON."""
    return answer.status == 404 and not answer.body


def _is_over(answer: Answer) -> bool:
    """Whether there was nothing left to end; v0.0.36 says so in words alone."""
    said = answer.words.lower()
    return bool(answer.numbers & _GONE) or any(each in said for each in _GONE_WORDS)


def _is_of_all(answer: Answer) -> bool:
    """Whether a no was not about the one job: not Slurm's own, or of the way to it, or of whose
    token it is."""
    return not answer.body or answer.unauthenticated or bool(answer.numbers & _COMMUNICATION)


def _reason(value: Any) -> str:
    return "" if value in (None, "None") else v.text(value)


def _is_no(numbers: set[int | None]) -> bool:
    """Whether Slurm itself turned a job down, so that none was made. What may also mean that an
    answer was lost (its numbers of communication, -1 alone) is no such word."""
    said = {number for number in numbers if number is not None}
    lost = said & _COMMUNICATION
    return not lost and any(
        number in _REFUSED_BY_REST or number in _REFUSED_BY_CONTROLLER or number == 11
        for number in said
    )


def _is_unclear(numbers: set[int | None]) -> bool:
    """Whether it is an answer of Slurm's that may be a no: of what a site's own plugin turns down
    slurmrestd tells -1 alone."""
    said = {number for number in numbers if number is not None}
    return bool(said) and not said & _COMMUNICATION


def _family(job: dict[str, Any]) -> int | None:
    return v.number(v.at(job, "array/job_id")) or v.number(job.get("job_id"))


def _list(answer: Answer, name: str) -> list[dict[str, Any]]:
    """A list that must be there: an answer without it is no answer."""
    found = answer.body.get(name)
    if not isinstance(found, list):
        raise Unreachable(f"slurmrestd gave no {name}: {answer.words}")
    return [each for each in found if isinstance(each, dict)]


def _chunks(all_of_them: Sequence[str], size: int = PER_QUESTION) -> Iterable[Sequence[str]]:
    for start in range(0, len(all_of_them), size):
        yield all_of_them[start : start + size]


def _uid(user: str) -> int | None:
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        return None
