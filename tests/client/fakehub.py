"""A small hub on loopback that keeps what it is told and fails where a test says so.

It answers with the wire models, over a real socket, so that a child process can use it too.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.client import fake_owners

from meyrin.client.errors import as_body, error_classes
from meyrin.domain.errors import InvalidInput, MeyrinError, NotFound, Refused
from meyrin.domain.refusal import Reason, Refusal
from meyrin.domain.site import Partition
from meyrin.domain.units import Unit
from meyrin.wire.agents import JoinReply, SelfReply
from meyrin.wire.allocations import (
    AwardList,
    AwardRow,
    ChangeList,
    ChangeView,
    ImportedView,
    ImportReply,
    NoticeList,
    NoticeView,
    OutgoingAward,
    PacedAllocation,
    PaceList,
    PaceView,
    Reclaimed,
    ReclaimList,
    ReclaimView,
)
from meyrin.wire.calls import (
    ClocksView,
    ModeClockView,
    ModeFit,
    ModesView,
    ModeView,
    NotThere,
    PlaceFit,
    ProposalList,
    ProposalView,
    RouteView,
    SpreadView,
    UnsentList,
    UnsentView,
)
from meyrin.wire.identity import (
    AuditList,
    AuditVerified,
    AuditView,
    GuestList,
    GuestView,
    LoginLink,
    Me,
    MemberList,
    MemberView,
    OrganisationList,
    OrganisationView,
    PersonList,
    PersonView,
    ProjectList,
    ProjectView,
    TokenList,
    TokenSecret,
    TokenView,
)
from meyrin.wire.jobs import (
    Accepted,
    CancelReply,
    CostView,
    EventView,
    ExplainView,
    FileView,
    HeldFiles,
    JobDetail,
    JobList,
    JobView,
    PlaceView,
    RefusalView,
    StoreView,
    StreamView,
    SubmitBody,
    SubmitReply,
    UploadState,
)
from meyrin.wire.ledger import (
    AllocationList,
    AllocationView,
    BalanceView,
    EntryList,
    OwnersReply,
    OwnerView,
    StatementView,
    TypeStatementView,
    VerifyReply,
)
from meyrin.wire.limits import DriftLine, SiteDrift
from meyrin.wire.plans import PlanList, PlanView, TraceJob, TraceJobs
from meyrin.wire.queue import QueuedJob, SiteQueue
from meyrin.wire.roles import (
    DepartureList,
    DepartureView,
    PersonDetail,
    RoleList,
    RoleView,
    SiteRevocation,
)
from meyrin.wire.sites import (
    AgentRefused,
    AgentSecret,
    CredentialList,
    CredentialView,
    Enrolled,
    EnrolmentSecret,
    OfferView,
    SiteDetail,
    SiteList,
    SiteView,
)
from meyrin.wire.terms import AcceptedList, AcceptedView, TermsList, TermsView

TOKEN = "myr_fake"
STATUS = {
    "invalid_input": 422,
    "bad_directive": 422,
    "refused": 409,
    "terms_missing": 409,
    "not_allowed": 403,
    "not_logged_in": 401,
    "not_found": 404,
    "unreachable": 503,
    "failed": 500,
    "conflict": 409,
    "illegal_change": 409,
    "world_moved": 409,
    "stale_epoch": 409,
    "storage_full": 507,
}
ENDED = {"completed", "failed", "cancelled", "expired"}
DAY_MS = 86_400_000


@dataclass
class Fault:
    """What goes wrong at calls that match, `times` times.

    `drop` closes before anything is done, `lose` after it was done, `cut` after some bytes of
    the body; an error is answered instead.
    """

    call: str
    how: str | MeyrinError
    times: int = 1
    after: int = 0


@dataclass
class FakeJob:
    number: int
    state: str = "admitted"
    output: dict[str, bytearray] = field(default_factory=dict)
    exit_code: int | None = None
    signal: int | None = None
    reason: str = ""
    name: str = "train"
    request: Any = None
    array_job: int | None = None
    task: int | None = None
    files: dict[str, bytes] = field(default_factory=dict)
    results: str = "none"
    started: bool = False
    cut: dict[str, int] = field(default_factory=dict)  # bytes kept, by stream
    all_in: str = ""  # the file with all that was printed

    @property
    def label(self) -> str:
        return str(self.number) if self.task is None else f"{self.array_job}_{self.task}"

    def view(self) -> JobView:
        placed = self.started or self.state in {"placed", "queued", "running"}
        return JobView(
            job=self.number,
            label=self.label,
            array_job=self.array_job,
            task=self.task,
            name=self.name,
            project="home",
            person="ada",
            state=self.state,
            shown=self.state,
            reason=self.reason,
            site="alps" if placed else None,
            partition="gpu" if placed else None,
            walltime_s=600,
            submit_ms=DAY_MS,
            start_ms=DAY_MS + 1000 if self.started else None,
            end_ms=DAY_MS + 61_000 if self.state in ENDED else None,
            exit_code=self.exit_code,
            signal=self.signal,
        )

    def told(self, stream: str) -> str:
        view = self.view()
        fields = ("state", "shown", "exit_code", "signal", "reason", "site", "partition")
        cut = {"cut_bytes": self.cut[stream]} if stream in self.cut else {}
        return json.dumps({name: getattr(view, name) for name in fields} | cut)


class FakeHub:
    """Give jobs output and ends with `print` and `end`; make calls fail with `fail`."""

    def __init__(self) -> None:
        self.jobs: dict[int, FakeJob] = {}
        self.keys: dict[str, tuple[int, int]] = {}
        self.uploads: dict[str, bytearray] = {}
        self.whole: set[str] = set()
        self.faults: list[Fault] = []
        self.calls: list[str] = []
        self.held_back: list[RefusalView] = []  # what a forecast says
        self.changed = threading.Condition()
        self.closing = False
        self.on_submit: Callable[[FakeJob], None] = lambda _: None
        self.on_cancel: Callable[[FakeJob], None] | None = None
        self.waits = ""  # for what a job waits at its site

    # --- what tests say

    def fail(self, call: str, how: str | MeyrinError, times: int = 1, after: int = 0) -> None:
        self.faults.append(Fault(call, how, times, after))

    def job(self, number: int = 1, **fields: Any) -> FakeJob:
        self.jobs[number] = FakeJob(number, **fields)
        return self.jobs[number]

    def print(self, job: FakeJob, data: bytes, stream: str = "stdout") -> None:
        with self.changed:
            if job.state not in ENDED:
                job.state, job.started = "running", True
            job.output.setdefault(stream, bytearray()).extend(data)
            self.changed.notify_all()

    def end(self, job: FakeJob, state: str = "completed", **fields: Any) -> None:
        with self.changed:
            job.state = state
            for name, value in fields.items():
                setattr(job, name, value)
            self.changed.notify_all()

    def wait_for(self, call: str) -> None:
        """Until a call that matches was answered or begun."""
        with self.changed:
            self.changed.wait_for(lambda: any(re.search(call, one) for one in self.calls))

    @contextmanager
    def serving(self) -> Iterator[str]:
        handler = type("Handler", (_Handler,), {"hub": self})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.block_on_close = True
        server.daemon_threads = False
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            with self.changed:
                self.closing = True
                self.changed.notify_all()
            server.shutdown()
            server.server_close()
            thread.join()

    # --- what calls do

    def submit(self, body: bytes) -> SubmitReply:
        replies = []
        for one in SubmitBody.model_validate_json(body).submissions:
            known = self.keys.get(one.idempotency_key)
            if known is None:
                tasks = one.request.array.indices if one.request.array else (None,)
                first = len(self.jobs) + 1
                for offset, task in enumerate(tasks):
                    job = self.job(first + offset, name=one.request.name, request=one.request)
                    if task is not None:
                        job.array_job, job.task = first, task
                    self.on_submit(job)
                known = self.keys[one.idempotency_key] = (first, len(tasks))
                replies.append(Accepted(job=known[0], elements=known[1]))
            else:
                replies.append(Accepted(job=known[0], elements=known[1], again=True))
        return SubmitReply(jobs=replies)

    def find(self, label: str) -> FakeJob:
        for job in self.jobs.values():
            if label in {job.label, str(job.number)}:
                return job
        raise NotFound(f"there is no job {label}", hint="`meyrin jobs` lists yours", job=label)

    def detail(self, label: str) -> JobDetail:
        job = self.find(label)
        family = [j for j in self.jobs.values() if j.array_job == job.number]
        counts: dict[str, int] = {}
        for one in family if label == str(job.number) else []:
            counts[one.state] = counts.get(one.state, 0) + 1
        files = [
            FileView(name=name, sha256=hashlib.sha256(data).hexdigest(), size=len(data))
            for name, data in job.files.items()
        ]
        return JobDetail(
            job=job.view(),
            comment="",
            array=counts,
            array_costs=[
                CostView(charged_type="core", held_s=0, used_s=60 * len(family)),
                CostView(charged_type="h100", held_s=10, used_s=0),
            ]
            if counts
            else [],
            attempts=[],
            events=[EventView(state="submitted", at_ms=DAY_MS, detail="", attempt=None)],
            held_s=0,
            used_s=60,
            charged_type="core",
            results=job.results,
            files=files,
            output=[
                StreamView(stream=name, size=size, cut=True, file=job.all_in)
                for name, size in job.cut.items()
            ],
        )

    def listed(self, asked: dict[str, list[str]]) -> JobList:
        after = int(asked.get("after", ["0"])[0] or 0)
        limit = int(asked["limit"][0])
        found = [
            job.view()
            for job in sorted(self.jobs.values(), key=lambda j: -j.number)
            if (not after or job.number < after)
            and ("state" not in asked or job.state in asked["state"])
        ]
        following = str(found[limit - 1].job) if len(found) > limit else ""
        return JobList(jobs=found[:limit], next=following)

    def explain(self, job: FakeJob | None) -> ExplainView:
        place = PlaceView(site="alps", partition="gpu", expected_start_s=0)
        return ExplainView(
            job=job.number if job else 0,
            state=job.state if job else "",
            summary="goes to alps/gpu, which is free now",
            refusals=self.held_back if job is None else [],
            where=place,
            others=[PlaceView(site="jura", partition="cpu", expected_start_s=10**10)],
            helps=["a shorter --time"],
            waits=self.waits,
        )

    def cancel(self, label: str) -> CancelReply:
        job = self.find(label)
        if job.state in ENDED:
            return CancelReply(ended=[], asked=[], already=[job.number])
        if self.on_cancel:
            self.on_cancel(job)
        else:
            self.end(job, "cancelled", reason="cancelled by ada")
        return CancelReply(ended=[job.number], asked=[], already=[])

    def upload_state(self, digest: str) -> UploadState:
        kept = self.uploads.get(digest, b"")
        return UploadState(sha256=digest, offset=len(kept), complete=digest in self.whole)

    def put(self, digest: str, offset: int, size: int, data: bytes) -> UploadState:
        kept = self.uploads.setdefault(digest, bytearray())
        if digest not in self.whole and offset == len(kept):
            kept += data
        if len(kept) == size and digest not in self.whole:
            if hashlib.sha256(kept).hexdigest() != digest:
                del self.uploads[digest]
                raise InvalidInput("the bytes sent are not those")
            self.whole.add(digest)
        return self.upload_state(digest)


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """The test's output is the client's."""

    def setup(self) -> None:
        super().setup()
        self.connection.settimeout(30)

    def do_GET(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def do_PUT(self) -> None:
        self._serve("PUT")

    def do_DELETE(self) -> None:
        self._serve("DELETE")

    def _serve(self, method: str) -> None:
        self.close_connection = True  # one call a connection: shutting down waits for nobody
        self.told: dict[str, str] = {}  # headers
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        parts = urlsplit(self.path)
        path = unquote(parts.path.removeprefix("/api/v1"))
        call = f"{method} {path}"
        with self.hub.changed:
            self.hub.calls.append(f"{call}?{parts.query}" if parts.query else call)
            self.hub.changed.notify_all()
        fault = next((f for f in self.hub.faults if f.times and re.search(f.call, call)), None)
        if fault:
            fault.times -= 1
        if fault and fault.how == "drop":
            return
        try:
            if fault and isinstance(fault.how, MeyrinError):
                raise fault.how
            of_agent = "/agent/" in self.path  # agents draw their own
            if self.headers["authorization"] != f"Bearer {TOKEN}" and not of_agent:
                raise error_classes()["not_logged_in"]("this token is not known here")
            cut = fault.after if fault and fault.how == "cut" else None
            asked = parse_qs(parts.query, keep_blank_values=True)
            if path.endswith("/follow"):
                self._follow(path.split("/")[2], asked, cut)
                return
            status, answer = self._answer(method, path, asked, body)
        except MeyrinError as error:
            status, answer = STATUS[error.code], json.dumps(as_body(error)).encode()
            cut = None
        if not (fault and fault.how == "lose"):
            self._send(status, answer, cut)

    def _send(self, status: int, answer: bytes, cut: int | None) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(answer)))
        self.send_header("connection", "close")
        for name, value in self.told.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer if cut is None else answer[:cut])

    def _answer(
        self, method: str, path: str, asked: dict[str, list[str]], body: bytes
    ) -> tuple[int, bytes]:
        parts = path.strip("/").split("/")
        if parts[0] == "uploads":
            state = (
                self.hub.upload_state(parts[1])
                if method == "GET"
                else self.hub.put(parts[1], int(asked["offset"][0]), int(asked["size"][0]), body)
            )
            return 200, state.model_dump_json().encode()
        if parts[0] == "jobs" and len(parts) > 2:
            return self._job(parts, asked)
        if path == "/jobs":
            answer: Any = self.hub.submit(body) if method == "POST" else self.hub.listed(asked)
        elif parts[0] == "jobs":
            answer = self.hub.detail(parts[1])
        elif path == "/forecast":
            answer = self.hub.explain(None)
        else:
            answer = administration(method, path)
        return (204, b"") if answer is None else (200, answer.model_dump_json().encode())

    def _job(self, parts: list[str], asked: dict[str, list[str]]) -> tuple[int, bytes]:
        job = self.hub.find(parts[1])
        if parts[2] == "output":
            start = int(asked["offset"][0])
            if asked["stream"][0] in job.cut:
                self.told["X-Meyrin-Cut"] = str(job.cut[asked["stream"][0]])
            return 200, bytes(job.output.get(asked["stream"][0], b"")[start : start + 5])
        if parts[2] == "files":
            data = job.files["/".join(parts[3:])]
            wanted = self.headers.get("range")
            if not wanted:
                return 200, data
            return 206, data[int(wanted.removeprefix("bytes=").removesuffix("-")) :]
        if parts[2] == "cancel":
            return 200, self.hub.cancel(parts[1]).model_dump_json().encode()
        if parts[2] == "release":
            if job.state != "submitted":
                raise Refused(f"job {parts[1]} is not held", hint="`meyrin explain`")
            return 200, json.dumps([job.number]).encode()
        return 200, self.hub.explain(job).model_dump_json().encode()

    def _follow(self, label: str, asked: dict[str, list[str]], cut: int | None) -> None:
        job = self.hub.find(label)
        stream = asked["stream"][0]
        position = int(self.headers.get("last-event-id") or 0)
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        said, sent = "", 0
        while not self.hub.closing:
            with self.hub.changed:
                fresh = bytes(job.output.get(stream, b"")[position : position + 7])
                told, over = job.told(stream), job.state in ENDED
                if not fresh and told == said and not over:
                    self.hub.changed.wait(5)
                    continue
            if fresh:
                position += len(fresh)
                data = base64.b64encode(fresh).decode()
                text = f"id: {position}\nevent: output\ndata: {data}\n\n"
            elif told != said:
                said, text = told, f": hello\n\nevent: state\ndata: {told}\n\n"
            else:
                text = f"event: end\ndata: {told}\n\n"
            piece = text.encode()
            self.wfile.write(piece if cut is None else piece[: cut - sent])
            self.wfile.flush()
            sent += len(piece)
            if text.startswith("event: end") or (cut is not None and sent >= cut):
                return


def refused() -> Refused:
    """A refusal with two reasons, as submit gives it."""
    return Refused(
        "no partition has 9 accelerators in a node",
        refusals=(
            Refusal(Reason.ACCELERATORS_PER_NODE, "alps", "gpu", 9, 4),
            Refusal(Reason.WALLTIME, "jura", "cpu", 7200, 3600),
        ),
        hint="ask for 4 or fewer",
    )


def administration(method: str, path: str) -> Any:
    """One good answer for every address of the nouns; None is an empty one."""
    person = PersonView(
        name="ada", display_name="Ada", admin=True, created_ms=DAY_MS, disabled_ms=None
    )
    project = ProjectView(name="home", title="Home", role="lead", created_ms=DAY_MS, closed_ms=None)
    proposal = ProposalView(
        id="prp_1",
        person="ada",
        project="home",
        title="An idea",
        mode="starter",
        kind="academic",
        purpose="try",
        amount_h=100,
        unit="accelerator",
        months=3,
        charged_type="core",
        amount_s=360_000,
        state="granted",
        reason="within its limits",
        decided_by="by rule",
        allocation_id="all_1",
        submit_ms=DAY_MS,
        eligible_ms=DAY_MS,
        reviewed_ms=DAY_MS,
        decided_ms=DAY_MS,
        provisioned_ms=DAY_MS,
        first_job_ms=None,
        from_s=0,
        due_s=60,
        stops=[],
    )
    organisation = OrganisationView(
        name="uni-a", title="University A", domain="uni-a.example", created_ms=DAY_MS
    )
    token = TokenView(id="tok_1", kind="cli", name="laptop", created_ms=DAY_MS, expires_ms=None)
    member = MemberView(name="ada", display_name="Ada", role="lead")
    site = SiteView(
        name="alps",
        title="Alps",
        batch_kind="local",
        drained=None,
        last_heard_ms=DAY_MS,
        open_to_all=True,
        closed_ms=None,
        partitions=[],
    )
    offer = OfferView(id="off_1", partition="gpu", start_s=0, end_s=None, owners=[])
    balance = BalanceView(granted_s=3600, free_s=3600, held_s=0, used_s=0, expired_s=0)
    allocation = AllocationView(
        id="all_1",
        project="home",
        charged_type="core",
        start_s=0,
        end_s=86400,
        rule="award",
        reason="test",
        created_ms=DAY_MS,
        closed_ms=None,
        balance=balance,
    )
    paced = PacedAllocation(
        id="all_1",
        allocation=allocation,
        pace=PaceView(
            verdict="slow", used_s=0, expected_s=3600, left_s=3600, weeks=[0], ends_s=None,
            earliest_s=None, latest_s=None, words="too little is used",
        ),
    )  # fmt: skip
    award = AwardRow(
        award="E-1", project="home", charged_type="core", amount_s=3600, start_s=0, end_s=86400,
        reason="elsewhere",
    )  # fmt: skip
    brought = ImportedView(
        line=2, award="E-1", project="home", charged_type="core", amount_s=3600, state="new",
        allocation_id="all_1", new_project=False,
    )  # fmt: skip
    idle = ReclaimView(
        allocation_id="all_1", project="home", charged_type="core", number=1, state="announced",
        rule="less than 20 % used", due_s=86400, takes_s=3600, waits="", reason="",
    )  # fmt: skip
    change = ChangeView(
        id="chg_1", kind="extend", allocation_id="all_1", to_id="", project="home", amount_s=3600,
        end_s=None, state="done", reason="more", asked_by="ada", asked_ms=DAY_MS,
        decided_by="root", decided_ms=DAY_MS, answer="good",
    )  # fmt: skip
    sheet = TypeStatementView(
        charged_type="core",
        opening=balance,
        kinds=[],
        delivered=[],
        closing=balance,
        unbalanced_s=0,
    )
    waiting = QueuedJob(
        key="0" * 16, user="1" * 16, account=None, partition="gpu", waits=True,
        state="PENDING", reason="Priority",
    )  # fmt: skip
    lacks = DriftLine(
        kind="user", account="m_lab", user="lovelace", wanted="may use it", outcome="reported"
    )
    cpu = Partition("cpu", nodes=4, cores_per_node=8, memory_mb_per_node=32_000)
    lent = site.model_copy(update={"partitions": [cpu]})
    study = PlanView(
        id="3", title="Pooling", kind="impact", project=None, person="ada", created_ms=1,
        files=2, size=9,
    )  # fmt: skip
    ran = TraceJob(
        job=1, person="0" * 16, project="1" * 16, site="alps", partition="gpu", submit_ms=1000,
        start_ms=3000, end_ms=9000, nodes=1, cores=8, accelerators=0, memory_mb=100,
        walltime_s=600, state="completed",
    )  # fmt: skip
    waits = ran.model_copy(update={"job": 2, "start_ms": None, "end_ms": None, "state": "queued"})
    role = RoleView(
        scope="call", role="officer", thing="starter", person="ada", organisation="",
        given_ms=DAY_MS, given_by="root",
    )  # fmt: skip
    words = TermsView(
        site="alps", version="1", text="be kind", url="", digest="d" * 64, set_ms=DAY_MS,
        set_by="olga", accepted_ms=None,
    )  # fmt: skip
    gone = DepartureView(
        person="bob", at_ms=DAY_MS, by="ada", returned_ms=None, jobs=0,
        sites=[
            SiteRevocation(
                site="alps", state="waiting", at_ms=None, words="its agent is away", jobs=0,
                last_heard_ms=None,
            )
        ],
    )  # fmt: skip
    answers: dict[str, Any] = {
        "GET /people/ada": PersonDetail(person=person, roles=[role], more=False),
        "GET /roles": RoleList(roles=[role], next=""),
        "POST /roles": role,
        "DELETE /roles": None,
        "POST /projects/home/leave": None,
        "GET /projects/home/departures": DepartureList(departures=[gone], next=""),
        "GET /terms": TermsList(terms=[words], next=""),
        "GET /sites/alps/terms": words,
        "PUT /sites/alps/terms": words,
        "DELETE /sites/alps/terms": None,
        "POST /sites/alps/terms/accept": words,
        "GET /sites/alps/terms/accepted": AcceptedList(
            accepted=[AcceptedView(person="ada", version="1", digest="d" * 64, at_ms=DAY_MS)],
            next="",
        ),
        "GET /plans": PlanList(plans=[study], next=""),
        "POST /plans": study,
        "DELETE /plans/3": None,
        "GET /trace": TraceJobs(jobs=[ran, waits], next=""),
        "GET /me": Me(person=person, projects=[project]),
        "POST /login-links": LoginLink(url="http://hub/login?link=x", expires_s=600),
        "GET /people": PersonList(people=[person], next=""),
        "POST /people": person,
        "POST /proposals": proposal,
        "GET /proposals": ProposalList(proposals=[proposal], next=""),
        "GET /proposals/all": ProposalList(proposals=[proposal], next=""),
        "GET /proposals/prp_1": proposal,
        "GET /unsent": UnsentList(
            unsent=[UnsentView(key="abc", made_ms=1, saved_ms=2, said={"title": "half an idea"})],
            next="",
        ),
        "DELETE /unsent/abc": None,
        **{
            f"POST /proposals/prp_1/{verb}": proposal
            for verb in ("decide", "withdraw", "stop-clock", "start-clock")
        },
        "GET /route": RouteView(
            modes=[
                ModeFit(
                    mode="starter",
                    title="Starter",
                    fits=True,
                    due_s=60,
                    cutoff_s=None,
                    cutoff_assumed=False,
                    pays=False,
                    objections=[],
                )
            ],
            places=[PlaceFit(site="alps", partition="cpu", free=63)],
            not_there=[NotThere(place="jura/gpu", why="it has h100, not core")],
        ),
        "GET /modes": ModesView(
            modes=[
                ModeView(
                    name="starter",
                    title="Starter",
                    source="this hub's",
                    who=["academic"],
                    purposes=["try"],
                    pays=[],
                    months=[3],
                    unit=Unit.ACCELERATOR,
                    least_h=1,
                    most_h=100,
                    order="first-in",
                    promise=60,
                    counts="seconds",
                    cut_off=False,
                    steps=["rule"],
                    gates=[],
                )
            ]
        ),
        "GET /clocks": ClocksView(
            at_ms=1,
            modes=[
                ModeClockView(
                    mode="starter",
                    asked=9,
                    waiting=0,
                    kept=9,
                    promised=9,
                    decided=SpreadView(count=9, p50_s=1, p90_s=2, p99_s=3),
                    provisioned=SpreadView(count=9, p50_s=1, p90_s=2, p99_s=3),
                    first_job=SpreadView(count=None, p50_s=None, p90_s=None, p99_s=None),
                )
            ],
        ),
        "POST /people/ada/disable": person,
        "POST /people/ada/approve": person,
        "GET /guests": GuestList(
            guests=[GuestView(name="bob", display_name="Bob", domain="uni-b.example", waits_ms=1)],
            next="",
        ),
        "GET /organisations": OrganisationList(organisations=[organisation], next=""),
        "POST /organisations": organisation,
        "DELETE /organisations/uni-a": None,
        "GET /audit": AuditList(
            rows=[
                AuditView(
                    id=1,
                    at_ms=1,
                    actor="root",
                    verb="person.new",
                    thing="ada",
                    facts={"admin": "False"},
                    prior="0",
                    hash="abc",
                )
            ],
            next="",
        ),
        "GET /audit/verify": AuditVerified(rows=1, last="abc", broken=None),
        "GET /store": StoreView(
            held=[HeldFiles(by="results", words="results of jobs", files=2, size=2048)],
            files=2,
            size=2048,
            unused_days=30,
        ),
        "GET /tokens": TokenList(tokens=[token], next="tok_1"),
        "POST /tokens": TokenSecret(token=token, secret="myr_new"),
        "DELETE /tokens/tok_1": None,
        "GET /projects": ProjectList(projects=[project], next=""),
        "POST /projects": project,
        "GET /projects/home": project,
        "GET /projects/home/members": MemberList(members=[member], next=""),
        "POST /projects/home/members": member,
        "DELETE /projects/home/members/ada": None,
        "GET /projects/home/entries": EntryList(entries=[], next=""),
        "GET /projects/home/statement": StatementView(project="home", month=None, types=[sheet]),
        "GET /ledger/verify": VerifyReply(findings=[]),
        "GET /ledger/owners": OwnersReply(
            month="2026-11",
            owners=[
                OwnerView(
                    offer_id="", owner="cern", charged_type="core", granted_s=7200, delivered_s=3600
                )
            ],
        ),
        "POST /ledger/months/2026-10/close": None,
        "POST /allocations/all_1/changes": change,
        "GET /changes": ChangeList(changes=[change], next=""),
        "POST /changes/chg_1/decide": change,
        "GET /awards": AwardList(awards=[OutgoingAward(id="all_1", row=award)], next=""),
        "POST /awards/import": ImportReply(dry_run=False, rows=[brought]),
        "GET /reclaims": ReclaimList(reclaims=[idle], next=""),
        "POST /reclaims/run": Reclaimed(reclaims=[idle]),
        "GET /pace": PaceList(paces=[paced], next=""),
        "GET /pace/off": PaceList(paces=[paced], next=""),
        "GET /notices": NoticeList(
            notices=[
                NoticeView(
                    id=7, project="home", allocation_id="all_1", words="too little", created_ms=1
                )
            ],
            next="",
        ),
        "POST /notices/7/seen": None,
        "PUT /sites/alps/projects": site,
        "GET /allocations": AllocationList(allocations=[allocation], next=""),
        "POST /allocations": allocation,
        "GET /sites": SiteList(sites=[site], next=""),
        "POST /sites": Enrolled(site=site, agent_secret="myr_agent"),
        "GET /sites/alps": SiteDetail(site=lent, offers=[offer]),
        "POST /agent/join": JoinReply(site="alps", title="Alps", now_ms=DAY_MS),
        "GET /agent/self": SelfReply(
            site="alps",
            title="Alps",
            now_ms=DAY_MS,
            incarnation="",
            answers=False,
            drained=None,
            lent=[],
        ),
        "POST /sites/alps/enrolment": EnrolmentSecret(
            site=site, secret="myr_enrol", expires_ms=DAY_MS, hub="https://hub.example"
        ),
        "GET /sites/alps/credentials": CredentialList(
            credentials=[
                CredentialView(
                    id="tok_1",
                    kind="enrol",
                    state="waits",
                    created_ms=DAY_MS,
                    expires_ms=DAY_MS,
                    used_ms=None,
                    revoked_ms=None,
                )
            ],
            next="",
        ),
        "GET /sites/alps/queue": SiteQueue(
            site="alps", at_ms=DAY_MS, left_out=0, partitions=[], jobs=[waiting], next=""
        ),
        "GET /sites/alps/drift": SiteDrift(
            site="alps", at_ms=DAY_MS, mode="report", words="", lines=[lacks], next=""
        ),
        "POST /sites/alps/drain": site,
        "POST /sites/alps/resume": site,
        "POST /sites/alps/offers": offer,
        "POST /sites/alps/offers/off_1/end": None,
        "POST /sites/alps/agent-token": AgentSecret(agent_secret="myr_agent"),
        "DELETE /sites/alps/agent-token": AgentRefused(jobs=2),
    }
    answers |= fake_owners.answers()
    call = f"{method} {path}"
    if call not in answers:
        raise NotFound("there is nothing at this address", call=call)
    return answers[call]
