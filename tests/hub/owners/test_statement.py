"""Owners' statements: entitled and delivered, frozen once, corrected by later entries."""

from __future__ import annotations

import json
from fractions import Fraction
from types import SimpleNamespace

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError
from tests.hub import facility
from tests.hub.facility import CPU
from tests.hub.owners import recomputed

from meyrin.domain.ledger import Source
from meyrin.domain.site import OwnerShare, Partition
from meyrin.hub.calls import service as calls
from meyrin.hub.ledger import months as ledger_months
from meyrin.hub.owners import entitled, service
from meyrin.hub.plumbing import audit
from meyrin.hub.sites import capacity, shares
from meyrin.hub.sites import service as sites
from meyrin.hub.sites import store as sites_store
from meyrin.hub.worker import Worker

JANUARY, FEBRUARY, MARCH = "2027-01", "2027-02", "2027-03"
DAY = 86_400
WIDE = Partition("cpu", 7, 9, 64_000, max_walltime_s=DAY, default_walltime_s=DAY)


def owners(**weights):
    return tuple(OwnerShare(owner, weight) for owner, weight in weights.items())


def award(hub, owner, offer, hours=500):
    with hub.write() as step:
        return calls.award(
            step,
            hub.projects["lab"],
            "core",
            hours * 3600,
            start_s=step.now_s,
            end_s=step.now_s + 300 * DAY,
            reason=f"by {owner}",
            source=Source(owner, offer),
        ).id


def run(hub, elapsed_s, **known):
    """A job of one core, from submission to its charge; its work."""
    hub.agents["alps"].hello()  # a silent site is sent nothing
    hub.submit(walltime_s=max(elapsed_s, 60))
    hub.steps()
    (work,) = hub.agents["alps"].lease().work
    hub.clock.pass_s(elapsed_s)
    hub.agents["alps"].report(hub.agents["alps"].ended(work, elapsed_s=elapsed_s, **known))
    return work


def frozen(hub, day=8):
    with hub.write() as step:
        return service.freeze_due(step, day)


def go_to(hub, month, day=1, hour=0):
    start_s, _ = recomputed.bounds_s(month)
    hub.clock.now_ms = (start_s + (day - 1) * DAY + hour * 3600) * 1000


@pytest.fixture
def lent(empty_hub):
    """Seven nodes of nine cores, of three owners; the shares change on the 20th."""
    hub = empty_hub
    hub.site("alps", WIDE, lend=False)
    with hub.write() as step:
        offer = sites.lend(
            step, "alps", "cpu", owners(eu=50, de=33, acme=17), start_s=step.now_s, price_cents=7
        )
        changed_s = recomputed.bounds_s(JANUARY)[0] + 19 * DAY + 12_345
        shares.change_shares(step, "alps", offer.id, owners(eu=1, de=1, fi=1), changed_s)
    hub.offer = offer.id
    return hub


def statement(hub, month, by="root"):
    actor = hub.actor(by)
    with hub.read() as step:
        return service.statement(step, actor, month)


def check_by_second_program(hub, month):
    """The document against the rows, by a program of its own."""
    document = statement(hub, month).document
    with hub.read() as step:
        exact, wholes = recomputed.entitled(step, month, document["until_s"])
        got = recomputed.delivered(step, month)
    lines = {(e["offer_id"], e["owner"], e["charged_type"]): e for e in document["offers"]}
    assert {key: e["delivered_s"] for key, e in lines.items() if e["delivered_s"]} == {
        key: amount for key, amount in got.items() if amount
    }
    for key, part in exact.items():
        assert abs(lines[key]["entitled_s"] - part) < 2, (key, part)  # one a term, two terms
    for (offer, charged_type), whole in wholes.items():
        mine = [e for e in lines.values() if e["offer_id"] == offer]
        assert sum(e["entitled_s"] for e in mine if e["charged_type"] == charged_type) == whole
    for name in ("entitled_s", "delivered_s", "paid_s"):
        by_owner = sum(e[name] for e in document["owners"])
        assert by_owner == sum(e[name] for e in document["offers"])
    returned = sum(e["returned_s"] for e in document["owners"])
    assert returned == sum(e["delivered_s"] for e in document["owners"])
    return document


def test_two_months_equal_a_plain_recomputation(lent):
    hub = lent
    award(hub, "eu", hub.offer)
    run(hub, 1001)
    go_to(hub, JANUARY, 18)
    hub.agents["alps"].hello()
    hub.drain("alps")
    hub.clock.pass_s(7777)
    with hub.write() as step:
        sites.resume(step, hub_root(hub), "alps")
    run(hub, 503)
    go_to(hub, JANUARY, 22)
    hub.agents["alps"].hello()
    award(hub, "fi", hub.offer)
    run(hub, 77)
    january = check_by_second_program(hub, JANUARY)
    drained = 7777 * 63
    whole = sum(line["entitled_s"] for line in january["offers"])
    assert whole == (hub.clock.now_s - facility.NOW_MS // 1000) * 63 - drained
    assert january["unknown"] == []
    go_to(hub, FEBRUARY, 3)
    run(hub, 999)
    document = check_by_second_program(hub, FEBRUARY)
    assert {line["owner"] for line in document["offers"]} == {"eu", "de", "fi"}
    hub.books_balance()


def hub_root(hub):
    return hub.actor("root")


def test_a_month_is_frozen_on_its_day_once_and_published_unchanged(lent):
    hub = lent
    award(hub, "eu", hub.offer)
    work = run(hub, 600)
    go_to(hub, FEBRUARY, 7, 23)
    assert frozen(hub) == []
    late = run(hub, 3600)  # into the day of the freeze: it counts in February
    assert frozen(hub) == []  # closed now; nothing is kept before every open step has ended
    assert statement(hub, JANUARY).month.state == "closed"
    hub.clock.pass_s(599)
    assert frozen(hub) == []
    hub.clock.pass_s(2)
    assert frozen(hub) == [JANUARY]
    assert frozen(hub) == []
    kept = statement(hub, JANUARY)
    assert kept.month.state == "frozen"
    assert sum(e["delivered_s"] for e in kept.document["owners"]) == 600
    root = hub.client("root")
    assert root.post(f"/api/v1/owners/months/{FEBRUARY}/publish").status_code == 409
    first = root.post(f"/api/v1/owners/months/{JANUARY}/publish").json()
    assert root.post(f"/api/v1/owners/months/{JANUARY}/publish").json() == first
    assert first["digest"] == entitled.digest(entitled.canonical(kept.document))
    # what a site corrects later is an entry of the open month that names the one it mends
    agent = hub.agents["alps"]
    agent.report(agent.ended(work, elapsed_s=500))
    assert statement(hub, JANUARY).document == kept.document
    document = check_by_second_program(hub, FEBRUARY)
    amounts = [(e["corrects"], e["amount_s"]) for e in document["corrections"]]
    assert {month for month, _ in amounts} == {JANUARY}
    assert sum(amount for _, amount in amounts) == -100
    assert sum(e["delivered_s"] for e in document["owners"]) == 3600 - 100
    assert late.attempt != work.attempt
    with hub.read() as step:
        told = [(row.verb, row.thing) for row in audit.listed(step, JANUARY, "", 50)[0]]
    assert told == [("statement.publish", JANUARY), ("statement.freeze", JANUARY)]
    hub.books_balance()


def test_late_use_counts_in_its_month_until_the_freeze_and_as_a_correction_after(lent):
    hub = lent
    award(hub, "de", hub.offer)
    go_to(hub, JANUARY, 31, 22)
    hub.agents["alps"].hello()
    hub.submit(walltime_s=3600)
    hub.submit(walltime_s=3600)
    hub.steps()
    one, two = hub.agents["alps"].lease().work
    ended_ms = hub.clock.now_ms + 900_000
    known = {"start_ms": hub.clock.now_ms, "end_ms": ended_ms}
    go_to(hub, FEBRUARY, 4)
    agent = hub.agents["alps"]
    agent.report(agent.ended(one, elapsed_s=900, **known))
    assert sum(e["delivered_s"] for e in check_by_second_program(hub, JANUARY)["owners"]) == 900
    go_to(hub, FEBRUARY, 8)
    frozen(hub)
    agent.report(agent.ended(two, elapsed_s=900, **known))
    hub.clock.pass_s(601)
    assert frozen(hub) == [JANUARY]
    assert sum(e["delivered_s"] for e in check_by_second_program(hub, JANUARY)["owners"]) == 900
    february = check_by_second_program(hub, FEBRUARY)
    assert {(e["corrects"], e["owner"]) for e in february["corrections"]} >= {(JANUARY, "de")}
    assert sum(e["amount_s"] for e in february["corrections"]) == 900
    hub.books_balance()


def test_a_crash_in_the_middle_of_freezing_leaves_nothing_or_all(lent):
    hub = lent
    go_to(hub, MARCH, 9)
    frozen(hub)
    hub.clock.pass_s(601)

    def freeze_and_crash():
        with hub.write() as step:
            assert service.freeze_due(step, 8) == [JANUARY, FEBRUARY]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        freeze_and_crash()
    assert statement(hub, JANUARY).month.state == "closed"
    other = hub.second_hub()
    with other.write() as step:
        assert service.freeze_due(step, 8) == [JANUARY, FEBRUARY]
    assert frozen(hub) == []


def test_no_month_is_closed_soon_after_the_clock_jumped(lent, monkeypatch):
    hub = lent
    steady = [5_000_000]
    monkeypatch.setattr("meyrin.hub.worker.time", SimpleNamespace(monotonic=lambda: steady[0]))
    worker = Worker(hub.database)

    def closed_after(seconds):
        steady[0] += seconds
        hub.clock.pass_s(seconds)
        worker._months()
        with hub.read() as step:
            return ledger_months.closed(step, [JANUARY, FEBRUARY, "2029-12"]).keys()

    assert not closed_after(0)
    right_ms = hub.clock.now_ms
    hub.clock.pass_s(3 * 366 * DAY)
    assert not closed_after(60)
    assert not closed_after(60)
    hub.clock.now_ms = right_ms + 120_000
    assert not closed_after(601)
    go_to(hub, FEBRUARY, 8)
    assert not closed_after(60), "it may be the wrong one"
    assert not closed_after(599)
    assert closed_after(1) == {JANUARY}


def test_what_was_published_can_not_be_changed_in_the_database(lent):
    hub = lent
    go_to(hub, FEBRUARY, 9)
    frozen(hub)
    hub.clock.pass_s(601)
    frozen(hub)
    for statement_text in (
        "UPDATE owner_statements SET digest = 'x'",
        "DELETE FROM owner_statements",
        "DELETE FROM capacities",
        "UPDATE later_shares SET weight = 5",
    ):
        with pytest.raises(DatabaseError, match="only ever added"), hub.write() as step:
            step.conn.execute(sa.text(statement_text))


def test_owners_comment_before_the_freeze_and_after_publication(lent):
    hub = lent
    award(hub, "eu", hub.offer)
    root, ada, bob = (hub.client(name) for name in ("root", "ada", "bob"))
    where = f"/api/v1/owners/months/{JANUARY}"
    said = {"owner": "eu", "words": "Why was\nalps drained?", "key": "k1"}
    assert ada.post(f"{where}/comments", json=said).status_code == 403
    assert ada.get(where).status_code == 403
    speaker = {"owner": "eu", "person": "ada"}
    assert ada.post("/api/v1/owners/speakers", json=speaker).status_code == 403
    for _ in range(2):
        assert root.post("/api/v1/owners/speakers", json=speaker).status_code == 204
    assert ada.get(where).json()["state"]["state"] == "draft"
    first = ada.post(f"{where}/comments", json=said)
    assert first.status_code == 201, first.text
    assert ada.post(f"{where}/comments", json=said).json() == first.json()
    assert ada.post(f"{where}/comments", json=said | {"words": "no"}).status_code == 409
    assert ada.post(f"{where}/comments", json=said | {"owner": "de"}).status_code == 403
    go_to(hub, FEBRUARY, 8)
    frozen(hub)
    assert ada.post(f"{where}/comments", json=said).json() == first.json(), "its answer was lost"
    refused = ada.post(f"{where}/comments", json=said | {"key": "k2"})
    assert (refused.status_code, "published" in refused.text) == (409, True)
    hub.clock.pass_s(601)
    frozen(hub)
    assert ada.post(f"{where}/comments", json=said | {"key": "k2"}).status_code == 409
    assert bob.get(where).status_code == 403
    assert bob.get("/api/v1/owners/months").json()["months"] == []
    root.post(f"{where}/publish")
    assert bob.get(where).json()["state"]["state"] == "published"
    assert ada.post(f"{where}/comments", json=said | {"key": "k2"}).status_code == 201
    listed = bob.get(f"{where}/comments").json()["comments"]
    assert [(one["phase"], one["person"]) for one in listed] == [
        ("draft", "ada"),
        ("published", "ada"),
    ]
    assert root.delete("/api/v1/owners/speakers/eu/ada").status_code == 204
    assert root.delete("/api/v1/owners/speakers/eu/ada").status_code == 404
    assert ada.post(f"{where}/comments", json=said | {"key": "k3"}).status_code == 403
    assert ada.post(f"{where}/comments", json=said).json() == first.json()


def test_the_paid_door_has_its_own_hours_and_income(lent):
    hub = lent
    award(hub, "eu", hub.offer)
    run(hub, 1000)
    paid = award(hub, "acme", hub.offer)
    with hub.write() as step:
        step.conn.execute(
            sa.text("UPDATE allocations SET door = 'paid' WHERE id = :id"), {"id": paid}
        )
        step.conn.execute(
            sa.text("UPDATE allocations SET closed_ms = 1 WHERE id <> :id"), {"id": paid}
        )
    run(hub, 7200)
    document = check_by_second_program(hub, JANUARY)
    assert sum(e["paid_s"] for e in document["owners"]) == 7200
    assert sum(e["income_cents"] for e in document["owners"]) == 14  # two hours at seven cents
    by_owner = {e["owner"]: e["returned_s"] for e in document["owners"]}
    assert (by_owner["eu"], by_owner["acme"]) == (1000, 7200)


# --- the return coefficient


@pytest.mark.parametrize(
    ("coefficient", "shown", "word"),
    [
        (Fraction(0), "0.000", "very poor"),
        (Fraction(3999999, 10**7), "0.399", "very poor"),
        (Fraction(2, 5), "0.400", "poor"),
        (Fraction(9999999, 10**7), "0.999", "poor"),
        (Fraction(1), "1.000", "balanced"),
        (Fraction(7, 3), "2.333", "balanced"),
        (None, "unknown", "unknown"),
    ],
)
def test_the_bands_are_cern_s(coefficient, shown, word):
    assert (entitled.decimals(coefficient), entitled.band(coefficient)) == (shown, word)


def line(owner, entitled_s, returned_s, charged_type="core"):
    return {
        "owner": owner,
        "charged_type": charged_type,
        "entitled_s": entitled_s,
        "returned_s": returned_s,
    }


def test_the_coefficient_is_the_part_of_the_use_over_the_part_of_the_entitlement():
    lines = [line("eu", 600, 20), line("de", 300, 60), line("fi", 100, 20), line("facility", 0, 0)]
    found = {one.owner: one.coefficient for one in entitled.returns([*lines, *lines])}
    assert found == {
        "eu": Fraction(1, 3),
        "de": Fraction(2),
        "fi": Fraction(2),
        "facility": None,
    }
    assert [one.coefficient for one in entitled.returns([line("eu", 5, 0)])] == [None]


def test_a_year_sums_its_months(lent):
    hub = lent
    award(hub, "eu", hub.offer)
    run(hub, 600)
    go_to(hub, FEBRUARY, 9)
    frozen(hub)
    hub.clock.pass_s(601)
    frozen(hub)
    run(hub, 60)
    root = hub.client("root")
    with hub.counting() as statements:
        year = root.get("/api/v1/owners/return", params={"year": 2027}).json()
    assert len(statements) <= 13, statements
    assert (year["months"], year["drafts"]) == ([JANUARY, FEBRUARY], [FEBRUARY])
    lines = [e for m in year["months"] for e in statement(hub, m).document["owners"]]
    assert [(r["owner"], r["coefficient"]) for r in year["returns"]] == [
        (one.owner, entitled.decimals(one.coefficient)) for one in entitled.returns(lines)
    ]
    assert hub.client("bob").get("/api/v1/owners/return", params={"year": 2027}).json() == {
        "year": 2027,
        "months": [],
        "drafts": [],
        "returns": [],
    }


def test_sites_that_could_not_call_while_the_hub_was_away_lose_nothing(lent):
    """Whichever agent is the first to be heard after the hub's start."""
    hub = lent
    first, second = (hub.site(name, CPU) for name in ("first", "second"))
    with hub.write() as step:
        capacity.note(step)
    hub.clock.pass_s(3600)
    hub.database.started_s = hub.clock.now_s
    hub.clock.pass_s(1)
    assert first.lease_raw().status_code == 200
    with hub.read() as step:
        last = {row.site_id: row.units for row in sites_store.last_capacities(step)}
    assert last[first.site_id] == last[second.site_id] == 32


def test_a_silent_site_has_no_capacity(lent):
    hub = lent
    hub.clock.pass_s(3600)
    with hub.write() as step:
        assert capacity.note(step) == 1
        assert capacity.note(step) == 0
    hub.clock.pass_s(3600)
    document = check_by_second_program(hub, JANUARY)
    assert sum(e["entitled_s"] for e in document["offers"]) == 3600 * 63
    assert json.loads(entitled.canonical(document)) == document
