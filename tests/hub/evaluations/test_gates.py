"""Gates at the hub: from a signed plan and signed evidence to hours, once; and who may what."""

from __future__ import annotations

import hashlib
import tracemalloc
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from tests.suites.gate import planted
from tests.suites.gate.planted import OWNER, REVIEWER, claim, draw, plan
from tests.suites.gate.planted import run as run_of

from meyrin.domain.job import InputFile
from meyrin.hub.calls import tranches
from meyrin.hub.calls.modes.file import Gate as Gate_
from meyrin.hub.evaluations import store
from meyrin.hub.plumbing import audit
from meyrin.suites import bundle, handed, keys
from meyrin.suites.gate.plan import Plan
from meyrin.suites.gate.signing import SignedPlan, public_of, sign
from meyrin.suites.verify import verify
from meyrin.wire.agents import ResultsBody
from meyrin.wire.jobs import FileView

SITE_KEY = bytes.fromhex("44" * 32)
FALSE_KEY = bytes.fromhex("55" * 32)
HOUR_MS = 3_600_000
MODEL = b"seventeen"


class Gate:
    """A hub with a project whose second tranche stands at a gate, and short ways through it."""

    def __init__(self, hub):
        self.hub = hub
        self.root, self.ada = hub.client("root"), hub.client("ada")
        with hub.write() as step:
            parts = [
                tranches.Part(3600, step.now_s),
                tranches.Part(7200, step.now_s, "second-tranche", "tiny", public_of(REVIEWER)),
            ]
            end_s = step.now_s + 10**7
            self.allocation = tranches.award(
                step, hub.projects["lab"], "h100", parts, start_s=step.now_s, end_s=end_s,
                reason="staged",
            ).id  # fmt: skip
        self.answer(self.root.post("/api/v1/gates/keys", json=self.key()), 201)
        self.work = self.job()

    def job(self, by="ada", **changed):
        """An attempt of a job that runs a suite on the model, as its agent was given it."""
        self.upload(MODEL, self.hub.client(by))
        brought = InputFile("model/weights.bin", hashlib.sha256(MODEL).hexdigest(), len(MODEL))
        asked = {"script": handed.SCRIPT, "inputs": (brought,), "output_files": (handed.FILE,)}
        self.hub.submit(by=by, **{**asked, **changed})
        self.hub.agents["alps"].hello()
        assert self.hub.steps()
        return max(self.hub.agents["alps"].lease().work, key=lambda work: work.job)

    def upload(self, raw, client):
        digest = hashlib.sha256(raw).hexdigest()
        about = {"offset": 0, "size": len(raw)}
        self.answer(client.put(f"/api/v1/uploads/{digest}", params=about, content=raw), 200)
        return digest

    @staticmethod
    def key():
        return {"name": "alps", "role": "site", "public": keys.public_of(SITE_KEY)}

    @staticmethod
    def answer(reply, status):
        assert reply.status_code == status, reply.text
        return reply.json()

    def plan(self, **changed) -> Plan:
        now_ms = self.hub.clock.now_ms
        small = claim(clusters=60, samples=300, bar=0.9, alternative=0.97)
        told = {"expires_ms": now_ms + 100 * HOUR_MS, "made_ms": now_ms - 5}
        return plan(small, **{**told, **changed})

    def signed(self, made: Plan) -> SignedPlan:
        at_ms = self.hub.clock.now_ms
        return sign(sign(SignedPlan(made), OWNER, "owner", at_ms), REVIEWER, "reviewer", at_ms)

    def register(self, made: Plan, status=201, **more):
        said = {"project": "lab", "signed": self.signed(made).as_data(), **more}
        return self.answer(self.ada.post("/api/v1/gates/plans", json=said), status)

    def facts(self, made: Plan, rate: float, seed=1, later_ms=HOUR_MS, **changed):
        """A run that begins a while from now; the clock goes past it."""
        began_ms = self.hub.clock.now_ms + later_ms
        scores = draw(made.claim[0], rate, 0.0, np.random.default_rng(seed))
        told = {"started_ms": began_ms, "ended_ms": began_ms + 5, "site": "alps", **changed}
        found = run_of(made.claim[0], made, scores, **told)
        # a model server: nobody packs weights here, so their digest is only told
        self.hub.clock.now_ms += max(later_ms, 0) + 10
        return found

    def packed(self, facts, secret=SITE_KEY, attempt=None) -> bytes:
        """What the site's agent makes of what the job left; of a model that is a digest here."""
        members = {bundle.FACTS: bundle.all_facts.dump(facts)}
        members[bundle.JOB] = bundle.canonical({"site_key": bundle.APART})
        members[bundle.MODEL] = bundle.canonical([list(each) for each in FILES])
        work = self.work
        word = replace(
            bundle.word_of(members),
            attempt=work.attempt if attempt is None else attempt,
            job=str(work.job),
        )
        members |= weights_of(facts, secret)
        members[bundle.CRATE] = bundle._crate(facts, members)
        payload = bundle.canonical(bundle.statement(facts, members, word))
        mark = [bundle.signature(payload, secret)]
        return bundle.zipped({**members, bundle.STATEMENT: bundle.envelope(payload, mark)})

    def bring(self, raw: bytes, status=201, client=None, project="lab"):
        client = client or self.ada
        said = {"project": project, "bundle": self.upload(raw, client)}
        return self.answer(client.post("/api/v1/gates/runs", json=said), status)

    def decide(self, made: Plan, *runs, status=201, client=None):
        said = {"project": "lab", "plan": made.digest, "runs": [each["digest"] for each in runs]}
        client = client or self.ada
        return self.answer(client.post("/api/v1/gates/decisions", json=said), status)

    def passed(self, rate=0.995, seed=1, **changed):
        made = self.plan(**changed)
        self.register(made)
        return made, self.decide(made, self.bring(self.packed(self.facts(made, rate, seed))))

    def tranche(self):
        page = self.ada.get("/api/v1/allocations", params={"project": "lab"}).json()
        (found,) = [each for each in page["allocations"] if each["id"] == self.allocation]
        return found


def weights_of(facts, secret):
    """The signature of a model's files, for a model that is only a digest here."""
    from meyrin.suites.environment import weights_digest

    listed = FILES
    assert weights_digest(listed) == facts.run.fingerprints.weights
    return {
        bundle.MODEL_SIGNATURE: SIGNED[secret],
        bundle.MODEL_KEY: bundle.weights_public(secret),
    }


@pytest.fixture(scope="module", autouse=True)
def model(tmp_path_factory):
    """A model of one file, and its signature by each key."""
    folder = tmp_path_factory.mktemp("model")
    (folder / "weights.bin").write_bytes(MODEL)
    from meyrin.suites.environment import model_files

    FILES[:] = model_files(folder)
    for secret in (SITE_KEY, FALSE_KEY):
        SIGNED[secret] = bundle._sign_weights(folder, secret)
    return folder


FILES: list[tuple[str, str, int]] = []
SIGNED: dict[bytes, bytes] = {}


@pytest.fixture(autouse=True)
def weights(monkeypatch):
    """Runs are of that model."""
    from meyrin.suites.environment import weights_digest

    monkeypatch.setattr(planted, "WEIGHTS", weights_digest(FILES))


@pytest.fixture
def gate(hub):
    return Gate(hub)


def test_evidence_opens_the_next_tranche_once(gate):
    assert (gate.tranche()["balance"]["free_s"], gate.tranche()["promised_s"]) == (3600, 7200)
    made, decided = gate.passed()
    assert decided["decision"]["verdict"] == "pass"
    assert gate.tranche()["balance"]["free_s"] == 10_800
    part = gate.tranche()["tranches"][1]
    assert (part["state"], part["decision"]) == ("released", decided["decision"]["digest"])
    assert "gate second-tranche: pass" in part["reason"]
    again = gate.decide(made, {"digest": decided["runs"][0]})
    assert again == decided
    assert gate.tranche()["balance"]["free_s"] == 10_800
    with gate.hub.read() as step:
        from meyrin.hub.ledger import service as ledger

        assert ledger.verify(step) == ()


def test_an_ask_grows_on_evidence_without_hand_work(gate):
    """From the ask in a mode with a gate to the next part: nobody binds anything to anything."""
    (starter,) = (mode for mode in gate.hub.app.state.modes if mode.name == "starter")
    more = Gate_(name="more", percent=60, claim="it works", reviewer=public_of(REVIEWER))
    gate.hub.app.state.modes = (starter.model_copy(update={"gate": (more,)}),)
    asked = {
        "key": "k", "project": "lab", "title": "", "kind": "academic", "purpose": "try",
        "amount_h": 10, "months": 3, "charged_type": "core",
    }  # fmt: skip
    made = gate.answer(gate.ada.post("/api/v1/proposals", json=asked), 201)
    gate.allocation = made["allocation_id"]
    assert (gate.tranche()["balance"]["free_s"], gate.tranche()["promised_s"]) == (14_400, 21_600)
    _, decided = gate.passed(gate="more", family="lab")
    assert decided["decision"]["action"] == "release"
    assert (gate.tranche()["balance"]["free_s"], gate.tranche()["promised_s"]) == (36_000, 0)
    assert "gate more: pass" in gate.tranche()["tranches"][1]["reason"]


def test_a_worse_model_is_stopped_with_the_reason(gate):
    _, decided = gate.passed(rate=0.5)
    assert decided["decision"]["verdict"] == "fail"
    found = gate.tranche()
    assert (found["balance"]["free_s"], found["promised_s"]) == (3600, 0)
    assert found["tranches"][1]["state"] == "stopped"
    assert "fail" in found["tranches"][1]["reason"]


def test_a_run_before_the_hub_had_the_plan_never_counts(gate):
    made = gate.plan()
    early = gate.facts(made, 0.995)
    gate.hub.clock.now_ms += HOUR_MS
    gate.register(made)
    gate.hub.clock.now_ms += HOUR_MS
    decided = gate.decide(made, gate.bring(gate.packed(early)))
    assert decided["decision"]["verdict"] == "not enough evidence"
    assert [each["code"] for each in decided["decision"]["problems"]] == ["exploratory"]
    assert gate.tranche()["promised_s"] == 7200


def test_evidence_counts_only_with_a_key_that_an_administrator_named(gate):
    made = gate.plan()
    gate.register(made)
    facts = gate.facts(made, 0.995)
    gate.bring(gate.packed(facts, FALSE_KEY), 403)
    other_site = replace(facts, run=replace(facts.run, site="beta"))
    gate.bring(gate.packed(other_site), 403)
    gate.bring(gate.packed(facts, attempt=""), 403)
    gate.bring(gate.packed(facts, attempt="none-such"), 403)
    raw = bytearray(gate.packed(facts))
    raw[len(raw) // 2] ^= 1
    assert "this is no evidence" in gate.bring(bytes(raw), 422)["error"]["message"]
    gate.answer(gate.ada.post("/api/v1/gates/keys", json=gate.key()), 403)
    public = gate.key()["public"]
    assert gate.root.delete(f"/api/v1/gates/keys/{public}").status_code == 204
    gate.bring(gate.packed(facts), 403)


def audited(gate, verb):
    with gate.hub.read() as step:
        return [row for row in audit.listed(step, "", "", 200)[0] if row.verb == verb]


def test_an_attempt_has_one_evidence_and_the_first_stays(gate):
    """The same again is the same, also where the site signed anew; another is told, not taken."""
    made = gate.plan()
    gate.register(made)
    facts = gate.facts(made, 0.5)
    first = gate.packed(facts)
    run = gate.bring(first)
    gate.hub.clock.now_ms += 60_000
    assert gate.bring(first) == run
    with gate.hub.read() as step:
        kept = store.evidence_of(step, gate.work.attempt)
    assert kept.bundle == run["bundle"]
    luckier = gate.facts(made, 0.995, seed=2, later_ms=0)
    refused = gate.bring(gate.packed(luckier), 409)
    assert "has other evidence already" in refused["error"]["message"]
    assert "run the suite again" in refused["error"]["hint"]
    (told,) = audited(gate, "evidence.conflict")
    assert (told.thing, told.facts["kept"]) == (gate.work.attempt, run["bundle"])
    assert len(gate.ada.get("/api/v1/gates/runs").json()["runs"]) == 1
    assert gate.decide(made, run)["decision"]["verdict"] == "fail"
    # nor does the hub countersign it for the site's agent, and the job's page says so
    agent = gate.hub.agents["alps"]
    agent.finish(gate.work)
    digest = gate.upload(gate.packed(luckier), gate.hub.client("alps"))
    view = FileView(name=handed.FILE, sha256=digest, size=1)
    body = {"attempt": gate.work.attempt, "epoch": gate.work.epoch, "state": "complete"}
    assert agent.post("results", ResultsBody(**body, files=[view])).status_code in {200, 204}
    assert "other evidence" in gate.hub.detail(gate.work.job).results


def test_a_gigabyte_is_neither_read_nor_countersigned_and_the_job_says_why(gate):
    agent, work = gate.hub.agents["alps"], gate.work
    agent.finish(work)
    for client in (gate.hub.client("alps"), gate.ada):
        digest = gate.upload(b"the start of a gigabyte", client)
    with Path(gate.hub.app.state.blobs._whole(digest)).open("r+b") as file:
        file.truncate(2**30)  # sparse: it takes no room
    view = FileView(name=handed.FILE, sha256=digest, size=2**30)
    body = ResultsBody(attempt=work.attempt, epoch=work.epoch, state="complete", files=[view])
    tracemalloc.start()
    try:
        assert agent.post("results", body).status_code in {200, 204}
        said = {"project": "lab", "bundle": digest}
        refused = gate.answer(gate.ada.post("/api/v1/gates/runs", json=said), 422)
        assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
    finally:
        tracemalloc.stop()
    assert "256 MiB at most; this would have 1,024" in refused["error"]["message"]
    assert "not countersigned: evidence has 256 MiB" in gate.hub.detail(work.job).results
    page = gate.ada.get(f"/jobs/{work.job}")
    assert page.status_code == 200
    assert "not countersigned: evidence has 256 MiB at most" in page.text


def test_tries_are_counted_and_the_sixth_is_refused(gate):
    made = gate.plan()
    gate.register(made)
    for number in range(6):
        gate.work = gate.job()
        run = gate.bring(gate.packed(gate.facts(made, 0.93, seed=number)))
        if number < 5:
            assert gate.decide(made, run)["decision"]["attempt"] == number + 1
    refused = gate.decide(made, run, status=409)
    assert "5 attempts spent 5 %" in refused["error"]["message"]


def test_the_reviewer_is_the_one_whom_the_tranche_names(gate):
    from meyrin.suites.gate.plan import Signer

    other = "66" * 32
    made = gate.plan(reviewer=Signer(name="hopper", key=public_of(other)))
    at_ms = gate.hub.clock.now_ms
    both = sign(sign(SignedPlan(made), OWNER, "owner", at_ms), other, "reviewer", at_ms)
    gate.answer(
        gate.ada.post("/api/v1/gates/plans", json={"project": "lab", "signed": both.as_data()}), 201
    )
    decided = gate.decide(made, gate.bring(gate.packed(gate.facts(made, 0.995))))
    assert decided["decision"]["verdict"] == "pass"
    assert gate.tranche()["promised_s"] == 7200, "it passed, but not for this tranche"


def test_plans_that_are_not_whole_are_not_kept(gate):
    made = gate.plan()
    half = sign(SignedPlan(made), OWNER, "owner", 5).as_data()
    gate.register(made, 409, signed=half)
    forged = gate.signed(made).as_data()
    forged["plan"]["claim"][0]["bar"] = 0.5
    gate.register(made, 422, signed=forged)
    gate.register(gate.plan(expires_ms=gate.hub.clock.now_ms), 409)
    assert gate.register(made) == gate.register(made)


def test_what_was_decided_can_not_be_changed(gate):
    gate.passed()
    for table in ("gate_plans", "gate_runs", "gate_decisions"):
        for words in (f"UPDATE {table} SET family = 'x'", f"DELETE FROM {table}"):
            with pytest.raises(sa.exc.DatabaseError), gate.hub.database.engine.begin() as conn:
                conn.execute(sa.text(words))


def test_others_see_nothing(gate):
    made, decided = gate.passed()
    gate.hub.person("eve")
    gate.hub.project("elsewhere", "eve")
    eve = gate.hub.client("eve")
    for noun, digest in (
        ("plans", made.digest),
        ("runs", decided["runs"][0]),
        ("decisions", decided["decision"]["digest"]),
    ):
        assert gate.ada.get(f"/api/v1/gates/{noun}/lab/{digest}").status_code == 200
        assert eve.get(f"/api/v1/gates/{noun}/lab/{digest}").status_code == 404
        assert eve.get(f"/api/v1/gates/{noun}").json()[noun] == []
        assert eve.get(f"/api/v1/gates/{noun}?project=lab").status_code == 404
        assert len(gate.ada.get(f"/api/v1/gates/{noun}").json()[noun]) == 1
    run = {"digest": decided["runs"][0]}
    gate.decide(made, run, status=404, client=eve)


def test_a_decision_from_the_hub_replays_and_scores_have_intervals(gate):
    from meyrin.suites.facts import parse
    from meyrin.suites.gate.decide import decision_from_data, replay
    from meyrin.suites.gate.signing import signed_from_data

    made = gate.plan()
    kept = gate.register(made)
    facts = gate.facts(made, 0.95)
    run = gate.bring(gate.packed(facts))
    (score,) = run["scores"]
    assert score["low"] < score["estimate"] < score["high"]
    assert run["run"] == asdict(facts.run) | {
        "isolation": {**asdict(facts.run.isolation), "held": ["dns", "tcp"], "broken": []}
    }
    decided = gate.decide(made, run)
    value = decision_from_data(decided["decision"])
    plan_kept = signed_from_data(kept["signed"])
    assert replay(value, plan_kept, [parse(bundle.all_facts.dump(facts))]) == ()
    where, whole = "/api/v1/gates/decisions/lab", decided["digest"]
    assert gate.ada.get(f"{where}/{whole[:12]}").json() == gate.ada.get(f"{where}/{whole}").json()
    for wrong in (whole[:7], whole[:11] + "_", whole[:11] + "%", "0" * 12):
        reply = gate.ada.get(f"{where}/{wrong}")
        assert reply.status_code == 404, wrong


def test_lists_cost_the_same_for_one_or_many(gate):
    made = gate.plan()
    gate.register(made)
    for number in range(3):
        gate.work = gate.job()
        run = gate.bring(gate.packed(gate.facts(made, 0.93, seed=number)))
        gate.decide(made, run)
    for noun in ("plans", "runs", "decisions", "keys"):
        counts = []
        for limit in (1, 30):
            with gate.hub.counting() as statements:
                gate.ada.get(f"/api/v1/gates/{noun}", params={"limit": limit})
            counts.append(len(statements))
        assert counts[0] == counts[1] <= 10, noun
    first = gate.ada.get("/api/v1/gates/runs", params={"limit": 2}).json()
    rest = gate.ada.get("/api/v1/gates/runs", params={"limit": 2, "after": first["next"]}).json()
    assert [len(first["runs"]), len(rest["runs"]), rest["next"]] == [2, 1, ""]


def test_only_a_run_of_a_suite_and_nothing_else_can_be_behind_evidence(gate):
    """A job with its own script or variables, on another model, of another project, too early."""
    made = gate.plan()
    gate.register(made)
    good = gate.work
    facts = gate.facts(made, 0.995)
    other = InputFile("model/weights.bin", hashlib.sha256(b"x").hexdigest(), 1)
    gate.upload(b"x", gate.ada)
    for changed in (
        {"script": "#!/bin/sh\ntrue\n"},
        {"environment": (("PYTHONPATH", "mine"),)},
        {"arguments": ("-c", "print()")},
        {"inputs": (other,)},
        {"inputs": ()},
        {"inputs": (replace(other, name="meyrin/__init__.py"),)},
    ):
        gate.work = gate.job(**changed)
        said = gate.bring(gate.packed(facts), 403)["error"]["message"]
        assert "can't be signed" in said, changed
    gate.work = good
    early = replace(facts, run=replace(facts.run, started_ms=1000))
    assert "before its job was placed" in gate.bring(gate.packed(early), 403)["error"]["message"]
    gate.hub.project("second", "ada")
    assert (
        "not of project"
        in gate.bring(gate.packed(facts), 403, project="second")["error"]["message"]
    )
    assert gate.bring(gate.packed(facts))["run"]["site"] == "alps"


def test_the_hub_countersigns_what_an_agent_brings_back(gate):
    """And a person fetches it with both signatures, and a key file checks it offline."""
    made = gate.plan()
    gate.register(made)
    agent, work = gate.hub.agents["alps"], gate.work
    raw = gate.packed(gate.facts(made, 0.995))
    agent.finish(work)

    def bring(content, name=handed.FILE):
        digest = gate.upload(content, gate.hub.client("alps"))
        view = FileView(name=name, sha256=digest, size=len(content))
        body = ResultsBody(attempt=work.attempt, epoch=work.epoch, state="complete", files=[view])
        assert agent.post("results", body).status_code in {200, 204}
        return gate.hub.detail(work.job)

    def runs():
        return gate.ada.get("/api/v1/gates/runs").json()["runs"]

    assert bring(raw, "other.txt").results == "complete"
    assert runs() == []
    for _ in range(2):
        assert bring(raw).results == "complete"
    (kept,) = runs()  # its scores are there without anybody's doing
    page = gate.ada.get("/projects/lab/models", headers={"accept": "text/html"}).text
    assert f"{kept['run']['suite']} {kept['run']['version']}" in page
    assert len(audited(gate, "run.register")) == 1
    fetched = gate.ada.get(f"/api/v1/jobs/{work.job}/files/{handed.FILE}")
    assert fetched.status_code == 200, fetched.text
    listed = gate.hub.client().get("/api/v1/gates/keys").json()["keys"]
    assert [(each["name"], each["role"]) for each in sorted(listed, key=lambda k: k["role"])] == [
        ("hub", "hub"),
        ("alps", "site"),
    ]
    trust = [keys.Trusted(each["name"], each["role"], each["public"]) for each in listed]
    found = verify(fetched.content, trust)
    assert (found.missing, found.receipt.attempt) == ((), work.attempt)
    run = gate.bring(fetched.content)
    assert {each["role"] for each in run["signers"]} == {"site", "hub"}
    assert (run["digest"], run["family"], runs()) == (kept["digest"], made.family, [kept])
    # a draft, or what a stranger signed, stays without the hub's signature, and the page says so
    for wrong in (
        bundle.zipped(bundle.drafted(bundle.unzipped(raw))),
        gate.packed(gate.facts(made, 0.9), FALSE_KEY),
        b"no bundle",
    ):
        assert "is not countersigned" in bring(wrong).results


def test_a_revoked_key_takes_its_evidence_along_and_a_replaced_one_does_not(gate):
    made = gate.plan()
    gate.register(made)
    first = gate.bring(gate.packed(gate.facts(made, 0.995)))
    later = gate.packed(gate.facts(made, 0.99, seed=2))
    public = gate.key()["public"]
    gate.answer(gate.ada.delete(f"/api/v1/gates/keys/{public}"), 403)
    assert gate.root.delete(f"/api/v1/gates/keys/{public}").status_code == 204
    assert "ended" in gate.bring(later, 403)["error"]["message"]
    assert gate.decide(made, first)["decision"]["verdict"] == "pass"
    assert gate.root.delete(f"/api/v1/gates/keys/{public}?revoked=true").status_code == 204
    again = gate.plan(made_ms=gate.hub.clock.now_ms)
    gate.register(again)
    said = gate.decide(again, first, status=409)["error"]["message"]
    assert "revoked" in said


def test_a_suite_that_came_with_its_job_opens_no_gate(gate):
    """It may call itself what it likes, and score as it likes."""
    made = gate.plan()
    gate.register(made)
    model = InputFile("model/weights.bin", hashlib.sha256(MODEL).hexdigest(), len(MODEL))
    own = InputFile("suite/capability/suite.toml", gate.upload(b"x", gate.ada), 1)
    gate.work = gate.job(inputs=(model, own))
    run = gate.bring(gate.packed(gate.facts(made, 0.995)))
    said = gate.decide(made, run, status=409)["error"]["message"]
    assert "came with its job" in said
