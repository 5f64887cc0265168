"""Asks for hours: granted by rule once, first in first out, clocks that stop, and their figures."""

from __future__ import annotations

import math
import random

import pytest
import sqlalchemy as sa
from tests.components import ROOT
from tests.hub.facility import CPU, GPU, Facility, at_once

from meyrin.hub.calls import proposals, proposals_store
from meyrin.hub.calls.modes.file import Gate, read_modes
from meyrin.hub.identity import service as identity
from meyrin.hub.jobs import attempts
from meyrin.hub.plumbing.authz import Actor
from meyrin.hub.sites import store as sites_store

BOSS = Actor(person="root", name="root", admin=True, facility=frozenset({"programme-officer"}))


@pytest.fixture
def hub(empty_hub: Facility) -> Facility:
    for name in {"ada", "bob"} - set(empty_hub.people):
        empty_hub.person(name)
    empty_hub.site("alps", CPU)
    return empty_hub


def body(key: str = "k1", project: str = "idea", hours: int = 100, **more):
    return {
        "key": key, "project": project, "title": "An idea", "kind": "academic", "purpose": "try",
        "amount_h": hours, "months": 3, "charged_type": "core", **more,
    }  # fmt: skip


def ask(hub: Facility, who: str, **said):
    return hub.client(who).post("/api/v1/proposals", json=body(**said))


def test_a_small_ask_is_granted_at_once_and_a_job_runs(hub: Facility) -> None:
    made = ask(hub, "ada")
    assert made.status_code == 201, made.text
    found = made.json()
    assert (found["state"], found["mode"], found["decided_by"]) == ("granted", "starter", "by rule")
    assert found["submit_ms"] == found["decided_ms"] == found["provisioned_ms"]
    balance = hub.client("ada").get("/api/v1/allocations").json()["allocations"][0]["balance"]
    assert balance["free_s"] == 100 * 3600


def test_the_same_key_is_the_same_ask(hub: Facility) -> None:
    first, again = ask(hub, "ada"), ask(hub, "ada")
    assert first.json() == again.json()
    assert len(hub.client("ada").get("/api/v1/allocations").json()["allocations"]) == 1


def test_a_key_used_for_another_ask_is_a_conflict(hub: Facility) -> None:
    assert ask(hub, "ada").status_code == 201
    other = ask(hub, "ada", hours=50)
    assert other.status_code == 409
    assert "its amount_h is '100', not '50'" in other.json()["error"]["message"]


def test_nobody_decides_their_own_ask_or_gives_more_than_was_asked(hub: Facility) -> None:
    big = {"hours": 500, "unit": "node", "kind": "sme", "months": 2}
    mine = ask(hub, "root", key="m", project="mine", **big).json()["id"]
    path = f"/api/v1/proposals/{mine}/decide"
    said = {"grant": True, "reason": "a good one", "amount_s": None}
    reply = hub.client("root").post(path, json=said)
    assert reply.status_code == 403, reply.text
    assert "nobody decides their own ask" in reply.json()["error"]["message"]
    theirs = ask(hub, "ada", key="t", **big).json()
    path = f"/api/v1/proposals/{theirs['id']}/decide"
    hub.client("root").post(f"/api/v1/proposals/{mine}/withdraw")
    more = theirs["amount_s"] + 1
    reply = hub.client("root").post(path, json=said | {"amount_s": more})
    assert reply.status_code == 422, reply.text
    assert "more than" in reply.json()["error"]["message"]
    assert hub.client("root").post(path, json=said).status_code == 200


def test_a_starter_is_given_once_per_person_and_per_project(hub: Facility) -> None:
    assert ask(hub, "ada").status_code == 201
    second = ask(hub, "ada", key="k2", project="other")
    assert second.status_code == 409
    assert "granted to you" in second.json()["error"]["message"]
    assert "ask in Reviewed (mode reviewed), which fits" in second.json()["error"]["hint"]
    names = [one["name"] for one in hub.client("ada").get("/api/v1/projects").json()["projects"]]
    assert "other" not in names  # a refusal leaves nothing behind
    little = ask(hub, "ada", key="k3", project="other", hours=5, mode="reviewed").json()
    assert (little["state"], little["mode"]) == ("waiting", "reviewed")
    with hub.write() as step:
        identity.add_member(step, BOSS, "idea", "bob", "lead")
    assert ask(hub, "bob").status_code == 409
    assert ask(hub, "bob", key="k2", project="bobs").status_code == 201


def test_twenty_asks_at_once_are_one_grant(hub: Facility) -> None:
    codes: list[int] = []

    def one(number: int) -> None:
        codes.append(ask(hub, "ada", key=f"k{number}").status_code)

    at_once(20, one)
    assert sorted(codes).count(201) == 1
    assert set(codes) <= {201, 403, 409}
    with hub.read() as step:
        rows, _ = proposals.listed(step, BOSS, "granted", "", 50, everybody=True)
    assert len(rows) == 1


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"charged_type": "h900"}, 404, "no site has 'h900'"),
        ({"hours": 10**9}, 409, "no mode fits"),
        ({"mode": "unheard"}, 422, "there is no mode 'unheard'"),
        ({"project": "Big Name"}, 422, "project"),
        ({"months": 61}, 422, "months"),
        ({"purpose": "win"}, 422, "purpose"),
    ],
)
def test_what_can_not_be_asked_says_why(hub: Facility, change, code, words) -> None:
    reply = ask(hub, "ada", **change)
    assert reply.status_code == code
    assert words in reply.json()["error"]["message"]


def test_nobody_asks_for_the_project_of_others(hub: Facility) -> None:
    ask(hub, "ada")
    assert (
        ask(hub, "bob", key="x").status_code == 409
    )  # the name is taken, and that is all he hears
    with hub.write() as step:
        identity.add_member(step, BOSS, "idea", "bob", "member")
    assert ask(hub, "bob", key="y").status_code == 403


def test_an_ask_of_others_can_not_be_seen(hub: Facility) -> None:
    found = ask(hub, "ada").json()["id"]
    for who in ("bob",):
        client = hub.client(who)
        assert client.get(f"/api/v1/proposals/{found}").status_code == 404
        assert client.post(f"/api/v1/proposals/{found}/withdraw").status_code == 404
        assert client.get("/api/v1/proposals/all").status_code == 403
        said = {"grant": True, "reason": "mine"}
        assert client.post(f"/api/v1/proposals/{found}/decide", json=said).status_code == 403


def large(hub: Facility, who: str, key: str) -> str:
    reply = ask(hub, who, key=key, project=f"{who}-{key}", hours=5000)
    assert reply.json()["state"] == "waiting", reply.text
    return reply.json()["id"]


def decide(hub: Facility, proposal: str, *, grant: bool = True, **more):
    said = {"grant": grant, "reason": "a clear plan", **more}
    return hub.client("root").post(f"/api/v1/proposals/{proposal}/decide", json=said)


def test_who_came_first_is_decided_first_unless_the_clock_stands(hub: Facility) -> None:
    first = large(hub, "ada", "a")
    hub.clock.pass_s(60)
    second = large(hub, "bob", "b")
    early = decide(hub, second)
    assert early.status_code == 409
    assert first in early.json()["error"]["message"]
    root = hub.client("root")
    stopped = root.post(f"/api/v1/proposals/{first}/stop-clock", json={"reason": "which data?"})
    assert stopped.json()["due_s"] is None
    assert decide(hub, second).json()["state"] == "granted"
    hub.clock.pass_s(3 * 86_400)
    started = root.post(f"/api/v1/proposals/{first}/start-clock").json()
    assert started["due_s"] > stopped.json()["submit_ms"] // 1000
    assert [stop["reason"] for stop in started["stops"]] == ["which data?"]
    assert decide(hub, first, grant=False).json()["state"] == "refused"
    assert decide(hub, first, grant=False).status_code == 200  # the same answer again
    assert decide(hub, first).status_code == 409  # another one


def test_a_ranked_mode_is_decided_in_any_order(hub: Facility) -> None:
    hub.app.state.modes = tuple(
        mode.model_copy(update={"order": "ranked"}) for mode in hub.app.state.modes
    )
    first = large(hub, "ada", "a")
    hub.clock.pass_s(60)
    assert decide(hub, large(hub, "bob", "b")).json()["state"] == "granted"
    assert decide(hub, first).json()["state"] == "granted"


def test_an_officer_may_grant_less(hub: Facility) -> None:
    reply = decide(hub, large(hub, "ada", "a"), amount_s=3600)
    assert reply.status_code == 200, reply.text
    made = reply.json()
    assert made["amount_s"] == 3600
    shown = hub.client("ada").get("/api/v1/allocations").json()["allocations"]
    assert [one["balance"]["granted_s"] for one in shown] == [3600]


def test_an_ask_is_taken_back_only_while_it_waits(hub: Facility) -> None:
    waiting = large(hub, "ada", "a")
    client = hub.client("ada")
    assert client.post(f"/api/v1/proposals/{waiting}/withdraw").json()["state"] == "withdrawn"
    assert client.post(f"/api/v1/proposals/{waiting}/withdraw").status_code == 200
    granted = ask(hub, "ada", key="k9").json()["id"]
    assert client.post(f"/api/v1/proposals/{granted}/withdraw").status_code == 409


def test_the_eight_modes_answer_through_the_hub(hub: Facility) -> None:
    hub.app.state.modes = read_modes(ROOT / "examples" / "modes")
    reply = ask(hub, "ada", hours=500, unit="node", kind="sme", months=2)
    assert (reply.json()["mode"], reply.json()["state"]) == ("playground", "waiting")
    assert reply.json()["amount_s"] == 500 * CPU.cores_per_node * 3600
    shown = {each["name"]: each for each in hub.client("ada").get("/api/v1/modes").json()["modes"]}
    assert set(shown) == {path.stem for path in (ROOT / "examples" / "modes").glob("*.toml")}
    fast = shown["fast-lane"]
    assert (fast["promise"], fast["counts"], fast["cut_off"]) == (4, "working-days", False)
    assert shown["extreme-scale"]["cut_off"]


KEY = "ab" * 32


def parts_of(hub: Facility) -> list[tuple[str, str, str, str, int, int]]:
    (found,) = hub.client("ada").get("/api/v1/allocations").json()["allocations"]
    assert found["balance"]["granted_s"] + found["promised_s"] == found_total(found)
    return [
        (part["gate"], part["family"], part["reviewer"], part["state"], part["amount_s"],
         part["from_s"])
        for part in found["tranches"]
    ]  # fmt: skip


def found_total(allocation) -> int:
    return sum(part["amount_s"] for part in allocation["tranches"])


def test_a_mode_with_gates_grants_in_parts_bound_to_them(hub: Facility) -> None:
    """As shipped, an officer names whose signature the gates' plans need."""
    hub.app.state.modes = read_modes(ROOT / "examples" / "growing")
    said = {"kind": "sme", "purpose": "train", "hours": 1001, "months": 12}
    made = ask(hub, "ada", **said).json()
    assert (made["mode"], made["state"]) == ("growing", "waiting")
    unsigned = decide(hub, made["id"])
    assert unsigned.status_code == 422
    assert "gate more-hours of growing needs a reviewer" in unsigned.text
    assert "--reviewer KEY" in unsigned.text
    page = hub.client("root").get("/officer").text
    assert "reviewer" in page
    now_s = hub.clock() // 1000
    assert decide(hub, made["id"], reviewer=KEY).json()["state"] == "granted"
    assert decide(hub, made["id"], reviewer=KEY).json()["state"] == "granted"
    total_s, (first, second, third) = 1001 * 3600, parts_of(hub)
    behind = [total_s * 30 // 100, total_s * 50 // 100]
    assert first == ("", "", "", "released", total_s - sum(behind), now_s)
    assert second == ("more-hours", "idea", KEY, "waiting", behind[0], now_s)
    (kept,) = hub.client("ada").get("/api/v1/allocations").json()["allocations"]
    later_s = now_s + (kept["end_s"] - now_s) * 25 // 100
    assert third == ("scale-up", "idea", KEY, "waiting", behind[1], later_s)
    assert kept["mode"] == "growing"


def test_a_mode_with_gates_may_decide_by_rule(hub: Facility) -> None:
    (starter,) = (mode for mode in hub.app.state.modes if mode.name == "starter")
    gate = Gate(name="more", percent=99, claim="it works", reviewer=KEY)
    hub.app.state.modes = (starter.model_copy(update={"gate": (gate,)}),)
    assert ask(hub, "ada", hours=1).json()["state"] == "granted"
    assert [(part[0], part[4]) for part in parts_of(hub)] == [("", 36), ("more", 3564)]


def test_what_was_asked_in_a_mode_that_is_gone_is_not_granted(hub: Facility) -> None:
    """Neither free instead of paid, nor at once instead of behind gates."""
    waiting = large(hub, "ada", "a")
    hub.app.state.modes = tuple(m for m in hub.app.state.modes if m.name != "reviewed")
    gone = decide(hub, waiting)
    assert (gone.status_code, "mode reviewed is gone" in gone.text) == (409, True)
    assert decide(hub, waiting, grant=False).json()["state"] == "refused"


def test_three_questions_lead_to_a_mode_and_to_sites_with_reasons(hub: Facility) -> None:
    """Before anything is sent; and what it says is what then happens."""
    hub.site("jura", GPU)
    hub.site("rhone", CPU)
    hub.site("tess", CPU)
    hub.drain("rhone")
    hub.award("lab")
    hub.submit(walltime_s=60)
    hub.steps()
    hub.project("other", "bob")
    with hub.write() as step:
        chosen = sa.select(sites_store.sites.c.id).where(sites_store.sites.c.name == "tess")
        only = {"allowed_projects": [identity.project_named(step, "other").id]}
        step.change(
            sa.update(sites_store.sites)
            .where(sites_store.sites.c.id == chosen.scalar_subquery())
            .values(**only)
        )
    said = {"kind": "academic", "purpose": "try", "amount_h": 100, "months": 3,
            "charged_type": "core"}  # fmt: skip
    ada = hub.client("ada")
    with hub.counting() as statements:
        found = ada.get("/api/v1/route", params=said).json()
    assert len(statements) <= 8, list(statements)
    first = found["modes"][0]
    assert (first["mode"], first["fits"]) == ("starter", True)
    assert [place["site"] for place in found["places"]] == ["alps"]
    total = CPU.nodes * CPU.cores_per_node
    assert found["places"][0]["free"] == total - 1, "one core is taken by a job"
    why = {each["place"]: each["why"] for each in found["not_there"]}
    assert why == {
        "jura/gpu": "it has gh200, not core",
        "rhone/cpu": "it takes nothing new at present",
        "tess/cpu": "it takes jobs of some projects alone",
    }
    theirs = hub.client("bob").get("/api/v1/route", params={**said, "project": "other"}).json()
    assert {place["site"] for place in theirs["places"]} == {"alps", "tess"}
    made = ask(hub, "ada").json()
    assert (made["mode"], made["state"]) == ("starter", "granted"), "as it was said"
    large_one = ada.get("/api/v1/route", params={**said, "amount_h": 5000}).json()["modes"]
    assert large_one[0]["mode"] == "reviewed"
    starter = next(each for each in large_one if each["mode"] == "starter")
    assert not starter["fits"]
    assert starter["objections"][0]["field"] == "amount"
    assert ada.get("/api/v1/route", params={**said, "charged_type": "x"}).status_code == 404
    assert hub.client().get("/api/v1/route", params=said).status_code == 401


def test_public_clocks_are_what_a_second_program_counts(hub: Facility) -> None:
    """Twelve people ask and are answered after different times; nearest-rank, by hand."""
    spans = []
    for number in range(12):
        who = f"p{number}"
        hub.person(who)
        made = large(hub, who, "a")
        took_s = 100 * (number + 1)
        hub.clock.pass_s(took_s)
        assert decide(hub, made).status_code == 200
        spans.append(took_s)
    stranger = hub.client()
    reply = stranger.get("/api/v1/clocks").json()["modes"]
    found = next(mode for mode in reply if mode["mode"] == "reviewed")
    ordered = sorted(spans)
    for name, share in (("p50_s", 0.50), ("p90_s", 0.90), ("p99_s", 0.99)):
        assert found["decided"][name] == ordered[math.ceil(share * 12) - 1]
    assert (found["asked"], found["kept"], found["promised"]) == (12, 12, 12)
    assert found["first_job"] == {"count": 0, "p50_s": None, "p90_s": None, "p99_s": None}
    assert "p11" not in stranger.get("/api/v1/clocks").text


def test_a_group_of_four_is_not_shown(hub: Facility) -> None:
    for number in range(4):
        hub.person(f"p{number}")
        decide(hub, large(hub, f"p{number}", "a"))
    found = hub.client().get("/api/v1/clocks").json()["modes"][0]
    assert found["asked"] is None
    assert found["decided"]["p50_s"] is None
    assert found["kept"] is None


def by_hand(spans_ms: list[int]) -> dict[str, int | None]:
    """What the page must say of these, from the definition: the smallest value that at least the
    share of values does not exceed, in begun seconds; nothing of fewer than five."""
    count, few = len(spans_ms), len(spans_ms) < 5
    told: dict[str, int | None] = {"count": None if few and count else count}
    for share in (50, 90, 99):
        reached = (
            v for v in sorted(spans_ms) if sum(w <= v for w in spans_ms) * 100 >= share * count
        )
        told[f"p{share}_s"] = None if few else math.ceil(next(reached) / 1000)
    return told


def test_the_clocks_of_many_asks_are_counted_as_by_hand_and_once_a_minute(hub: Facility) -> None:
    """2,000 asks of four modes with every kind of end and gap; two queries, then none for a
    minute, whoever asks."""
    chance = random.Random(7)
    rows = []
    for number in range(2000):
        mode = chance.choice(("a", "b", "c")) if number > 3 else "few"
        state = chance.choice(("waiting", "granted", "refused", "withdrawn"))
        start = 10**12 + chance.randrange(10**9)
        decided = None if state == "waiting" else start + chance.choice((0, 1000, 1001, 5 * 10**6))
        given = None if state != "granted" else decided
        first = given + chance.randrange(10**7) if given and chance.random() < 0.5 else None
        due = chance.choice((None, start // 1000, start // 1000 + 3600))
        rows.append((mode, state, start, decided, given, first, due))
    names = ("mode", "state", "submit_ms", "decided_ms", "provisioned_ms", "first_job_ms", "due_s")
    plain = {"project": "p", "title": "t", "kind": "academic", "purpose": "try", "amount_h": 1,
             "unit": "accelerator", "months": 1, "charged_type": "core", "amount_s": 3600,
             "reason": "", "decided_by": "", "from_s": 0}  # fmt: skip
    with hub.write() as step:
        step.add(
            proposals_store.proposals,
            [
                {
                    **plain,
                    "id": f"prp_{n}",
                    "person_id": f"p{n}",
                    "key": "k",
                    **dict(zip(names, row, strict=True)),
                }
                for n, row in enumerate(rows)
            ],
        )
    stranger = hub.client()
    with hub.counting() as first_look:
        told = stranger.get("/api/v1/clocks").json()
    assert len(first_look) <= 3, list(first_look)
    assert [mode["mode"] for mode in told["modes"]] == ["a", "b", "c", "few"]
    for mode in told["modes"]:
        mine = [row for row in rows if row[0] == mode["mode"]]
        answered = [row for row in mine if row[1] in ("granted", "refused")]
        promised = [row for row in answered if row[6] is not None]
        masked = {name: None if 0 < n < 5 else n for name, n in (
            ("asked", len(mine)), ("waiting", sum(row[1] == "waiting" for row in mine)),
            ("promised", len(promised)))}  # fmt: skip
        assert {name: mode[name] for name in masked} == masked
        kept = sum(row[3] <= row[6] * 1000 for row in promised)
        assert mode["kept"] == (kept if len(promised) >= 5 else None)
        assert mode["decided"] == by_hand([row[3] - row[2] for row in answered])
        for what, column in (("provisioned", 4), ("first_job", 5)):
            assert mode[what] == by_hand([r[column] - r[2] for r in mine if r[column] is not None])
    with hub.counting() as second_look:
        assert stranger.get("/api/v1/clocks").json() == told
        assert "Counted" in stranger.get("/clocks").text
    assert len(second_look) <= 1, second_look
    hub.clock.pass_s(60)
    with hub.write() as step:
        step.change(sa.update(proposals_store.proposals).values(mode="a"))
    assert [mode["mode"] for mode in stranger.get("/api/v1/clocks").json()["modes"]] == ["a"]


def test_the_first_job_of_a_grant_is_noted_once(hub: Facility) -> None:
    found = ask(hub, "ada").json()
    hub.clock.pass_s(5)
    hub.submit(project="idea")
    hub.steps()
    agent = hub.agents["alps"]
    agent.report(*[agent.running(work) for work in agent.lease().work])
    for _ in range(2):
        with hub.write() as step:
            waiting = proposals.without_first_job(step)
            proposals.note_first_jobs(step, attempts.first_starts(step, waiting))
    seen = hub.client("ada").get(f"/api/v1/proposals/{found['id']}").json()
    assert seen["first_job_ms"] == hub.clock()
