"""A site joins: enrolments, credentials that follow one another, what is lent as it joins."""

from __future__ import annotations

import hashlib

import pytest
from tests.hub.identity.fixtures import at_once, everything_stored

from meyrin.domain.errors import Conflict, InvalidInput, MeyrinError, NotAllowed, NotLoggedIn
from meyrin.domain.site import Partition
from meyrin.hub.identity import credentials
from meyrin.hub.identity import service as identity
from meyrin.hub.plumbing import audit
from meyrin.hub.plumbing.authz import Actor
from meyrin.hub.sites import joining, presence, store
from meyrin.hub.sites import service as sites

ROOT = Actor(person="root", name="root", admin=True)
CPU = Partition("cpu", 10, 128, 256_000)


def secret(number=1):
    return f"myr_{number:043}"


def digest(number=1):
    return hashlib.sha256(secret(number).encode()).hexdigest()


def enrol(house, name="alps", actor=ROOT, **wanted):
    with house.write() as step:
        return joining.new_enrolment(step, actor, name, **wanted)


def join(house, enrolment, number=1):
    with house.write() as step:
        return joining.join(step, enrolment, digest(number))


def holder(house, number=1):
    """Who the hub takes the holder of a secret for."""
    with house.read() as step:
        return identity.authenticate(step, secret(number), identity.AGENT_KINDS)


def follow(house, old, new):
    caller = holder(house, old)
    with house.write() as step:
        joining.follow_credential(step, caller.site, caller.token, digest(new))


def listed(house, limit=50):
    with house.read() as step:
        return joining.credentials(step, ROOT, "alps", "", limit)[0]


def test_an_enrolment_is_good_once_and_for_an_hour(house):
    made = enrol(house)
    assert made.expires_ms == house.clock.now_ms + 3_600_000
    assert join(house, made.secret).name == "alps"
    assert holder(house).site == made.site.id
    with pytest.raises(NotLoggedIn, match="used already") as used:
        join(house, made.secret, 2)
    assert "site enrol" in used.value.hint
    late = enrol(house, "jura")
    house.clock.pass_s(3600)
    with pytest.raises(NotLoggedIn, match="expired"):
        join(house, late.secret)
    first, second = enrol(house, "jura"), enrol(house, "jura")
    with pytest.raises(NotLoggedIn, match="newer one"):
        join(house, first.secret, 3)
    join(house, second.secret, 3)
    for unknown in ("", "myr_" + "x" * 43, secret(3)):
        with pytest.raises(NotLoggedIn, match="never made"):
            join(house, unknown, 4)


def test_an_enrolment_is_not_used_up_by_another_name(house):
    made = enrol(house)
    with house.write() as step, pytest.raises(Conflict, match="for the site alps, not apls"):
        joining.join(step, made.secret, digest(), "apls")
    with house.write() as step:
        assert joining.join(step, made.secret, digest(), "alps").name == "alps"


def test_an_answer_that_was_lost_is_asked_for_again(house):
    made = enrol(house)
    for _ in range(3):
        join(house, made.secret)
    assert len([one for one in listed(house) if one.kind == "agent"]) == 1
    follow(house, 1, 2)
    follow(house, 1, 2)
    follow(house, 2, 2)
    assert len([one for one in listed(house) if one.kind == "agent"]) == 2
    house.clock.pass_s(credentials.OVERLAP_S)
    with pytest.raises(NotLoggedIn, match="used already"):
        join(house, made.secret)  # what it was used for is over


def test_of_several_that_take_one_enrolment_one_gets_it(house):
    made = enrol(house)

    def take(number):
        try:
            join(house, made.secret, number + 1)
        except NotLoggedIn as error:
            return error.message
        return ""

    said = at_once(6, take)
    assert min(said) == ""
    assert all("used already" in one for one in sorted(said)[1:])
    assert sum(one.kind == "agent" for one in listed(house)) == 1


def test_only_a_digest_of_a_secret_is_taken_and_none_twice(house):
    made = enrol(house)
    for wrong in ("", "x" * 64, digest()[:-1], digest().upper(), secret()):
        with house.write() as step, pytest.raises(InvalidInput):
            joining.join(step, made.secret, wrong)
    join(house, made.secret)
    other = enrol(house, "jura")
    with pytest.raises(InvalidInput, match="used before"):
        join(house, other.secret)
    join(house, other.secret, 2)
    with pytest.raises(InvalidInput, match="used before"):
        follow(house, 2, 1)
    assert (holder(house, 1).site, holder(house, 2).site) == (made.site.id, other.site.id)


def test_a_followed_credential_counts_for_ten_minutes_more(house):
    join(house, enrol(house).secret)
    follow(house, 1, 2)
    assert holder(house, 1).site == holder(house, 2).site
    house.clock.pass_s(credentials.OVERLAP_S - 1)
    holder(house, 1)
    house.clock.pass_s(1)
    with pytest.raises(NotLoggedIn, match="expired"):
        holder(house, 1)
    holder(house, 2)
    house.clock.pass_s(credentials.UNUSED_S)
    with pytest.raises(NotLoggedIn, match="expired"):
        holder(house, 2)


def test_a_revoked_agent_and_its_followers_are_refused(house):
    made = enrol(house)
    join(house, made.secret)
    caller = holder(house)
    follow(house, 1, 2)
    waits = enrol(house, again=True)
    with house.write() as step:
        assert sites.revoke(step, ROOT, "alps") == 4  # both, the used and the waiting enrolment
        assert sites.revoke(step, ROOT, "alps") == 0
    for number in (1, 2):
        with pytest.raises(NotLoggedIn, match="revoked"):
            holder(house, number)
    with pytest.raises(NotLoggedIn):
        join(house, waits.secret, 3)
    with pytest.raises(NotLoggedIn):
        join(house, made.secret, 1)
    with house.write() as step, pytest.raises(NotLoggedIn, match="revoked"):
        joining.follow_credential(step, caller.site, caller.token, digest(4))


def test_no_credential_slips_past_a_revocation(house):
    """An agent renews while its site is revoked: afterwards nothing counts."""
    join(house, enrol(house).secret)
    caller = holder(house)

    def one(number):
        try:
            with house.write() as step:
                if number == 0:
                    sites.revoke(step, ROOT, "alps")
                else:
                    joining.follow_credential(step, caller.site, caller.token, digest(number + 1))
        except MeyrinError as error:
            return error.message
        return ""

    at_once(4, one)
    for number in range(1, 5):
        with pytest.raises(NotLoggedIn):
            holder(house, number)


def test_another_agent_takes_over_only_when_that_is_meant(house):
    join(house, enrol(house).secret)
    with house.write() as step:
        sites.announce(step, holder(house).site, "slurm", [CPU], "first")
    with pytest.raises(Conflict, match="has an agent already") as no:
        enrol(house)
    assert "--again" in no.value.hint
    made = enrol(house, again=True)
    holder(house, 1)  # still the one
    join(house, made.secret, 2)
    with pytest.raises(NotLoggedIn):
        holder(house, 1)
    holder(house, 2)


def test_who_may_enrol(house):
    ada = house.actor(house.person("ada"))
    with pytest.raises(NotAllowed):
        enrol(house, actor=ada)
    enrol(house)
    with house.write() as step:
        sites.add_operator(step, "alps", "ada")
    with house.read() as step:
        site = sites.site_by_name(step, "alps")
    ada = Actor(person=ada.person, operates=frozenset({site.id}))
    enrol(house, actor=ada)
    for wanted in ({"lend": True}, {"lend": False}):
        with pytest.raises(NotAllowed):
            enrol(house, actor=ada, **wanted)
    with pytest.raises(NotAllowed):
        enrol(house, "jura", actor=ada)
    for wrong in (0, 59, 8 * 86_400):
        with pytest.raises(InvalidInput):
            enrol(house, valid_s=wrong)


def test_the_last_use_is_noted_once_a_minute(house):
    join(house, enrol(house).secret)
    caller = holder(house)

    def used():
        with house.write() as step:
            identity.note_used(step, caller.token)
        (found,) = [one for one in listed(house) if one.kind == "agent"]
        return found.used_ms

    first = house.clock.now_ms
    assert used() == first
    house.clock.pass_s(59)
    assert used() == first
    house.clock.pass_s(1)
    assert used() == first + 60_000
    house.clock.pass_s(-3600)  # the clock was set back
    assert used() == house.clock.now_ms


def test_no_secret_is_stored_or_told(house, caplog):
    made = enrol(house)
    join(house, made.secret)
    follow(house, 1, 2)
    with house.read() as step:
        stored = everything_stored(step)
    for word in (made.secret, secret(1), secret(2)):
        assert word not in stored
        assert word not in caplog.text


OFFERS = [
    {"partition": "cpu", "owners": [{"owner": "uni", "weight": 3}], "start_s": None, "end_s": None}
]


def hello(house, offers, number=1):
    """What is lent once the holder of a secret has said hello, as `hub/agents` takes it."""
    house.clock.pass_s(1)
    return said_hello(house, holder(house, number), offers)


def said_hello(house, caller, offers):
    with house.write() as step:
        agreed = joining.may_lend(step, caller.site, caller.token)
        found = sites.announce(step, caller.site, "slurm", [CPU], "one", {"offers": offers})
        if agreed:
            joining.lend_proposed(step, found)
        return sites.offers_of(step, found)


def audited(house, thing):
    with house.read() as step:
        return [(row.verb, row.actor, row.facts) for row in audit.listed(step, thing, "", 50)[0]]


def test_what_a_site_proposes_as_it_joins_is_lent_where_the_enrolment_says_so(house):
    join(house, enrol(house).secret)
    assert hello(house, OFFERS) == []
    join(house, enrol(house, "jura", lend=True).secret, 2)
    house.clock.pass_s(600)  # a test job comes first
    (made,) = hello(house, OFFERS, 2)
    assert (made.partition, made.end_s) == ("cpu", None)
    assert [(share.owner, share.weight) for share in made.shares] == [("uni", 3)]
    said = {"site": "jura", "owners": "{'uni': 3}", "by": "join"}
    assert audited(house, made.id) == [("offer.lend", "", said)]
    assert hello(house, OFFERS, 2) == [made]  # the answer was lost
    assert hello(house, [], 2) == [made]  # what is lent stays lent


def test_a_proposal_of_what_is_lent_already_under_other_capitals_is_left(house):
    join(house, enrol(house, lend=True).secret)
    assert len(hello(house, [*OFFERS, OFFERS[0] | {"partition": "CPU"}])) == 1


def test_what_was_ended_stays_ended_and_later_proposals_wait_for_a_word(house):
    join(house, enrol(house, lend=True).secret)
    (made,) = hello(house, OFFERS)
    with house.write() as step:
        sites.end_offer(step, "alps", made.id)
    mine = [OFFERS[0] | {"owners": [{"owner": "mine", "weight": 1}]}]
    assert hello(house, mine) == []
    assert hello(house, [*mine, OFFERS[0] | {"partition": "gpu"}]) == []
    enrol(house, lend=True, again=True)
    assert hello(house, mine) == []  # an agent from before, whose successor has not joined
    enrol(house, again=True)
    assert hello(house, mine) == []
    join(house, enrol(house, again=True).secret, 2)
    assert hello(house, mine, 2) == []
    before = holder(house, 2)
    join(house, enrol(house, lend=True, again=True).secret, 3)
    with pytest.raises(NotLoggedIn):  # a call of the one before that came late
        said_hello(house, before, mine)
    (again,) = hello(house, mine, 3)  # an administrator said so anew
    assert [share.owner for share in again.shares] == ["mine"]


def test_leave_to_lend_that_was_not_used_ends_with_the_enrolment(house):
    made = enrol(house, lend=True)
    join(house, made.secret)
    with house.write() as step:
        secret_now = sites.rotate_agent_token(step, ROOT, "alps")
    with house.read() as step:
        caller = identity.authenticate(step, secret_now, identity.AGENT_KINDS)
    assert said_hello(house, caller, OFFERS) == []


def test_a_site_that_joined_by_an_older_hub_lends_nothing_new(house):
    """There `--lend` stood for ever."""
    join(house, enrol(house, lend=True).secret)
    hello(house, [])
    with house.write() as step:
        store.set_field(step, holder(house).site, store.sites.c.lend_proposed, True)
    assert hello(house, OFFERS) == []


def propose(house, site, offers):
    with house.write() as step:
        found = sites.announce(step, site.id, "slurm", [CPU], "one", {"offers": offers})
        return joining.lend_proposed(step, found)


@pytest.mark.parametrize(
    "wrong",
    [
        {"owners": [{"owner": "Die Uni", "weight": 1}]},
        {"owners": [{"owner": "uni", "weight": 0}]},
        {"partition": "GPU !"},
    ],
)
def test_a_proposal_that_can_not_be_lent_keeps_nobody_from_being_heard(house, wrong):
    site = enrol(house, lend=True).site
    made = propose(house, site, [OFFERS[0] | wrong, OFFERS[0]])
    assert [one.partition for one in made] == ["cpu"]
    with house.read() as step:
        assert sites.site(step, site.id).incarnation == "one"


def test_an_offer_whose_time_is_over_is_not_made(house):
    site = enrol(house).site
    now_s = house.clock.now_ms // 1000
    over = [OFFERS[0] | {"start_s": 10, "end_s": now_s}]
    assert propose(house, site, over) == []
    (made,) = propose(house, site, [OFFERS[0] | {"start_s": 10, "end_s": now_s + 5}])
    assert (made.start_s, made.end_s) == (now_s, now_s + 5)


def test_what_the_site_says_of_now_moves_the_world_once(house):
    site = enrol(house).site
    propose(house, site, [])
    with house.read() as step:
        assert not sites.partition_states(step, step.now_s)[0].drained
    for reason, drained in (("quiet hours", True), ("quiet hours", True), ("", False)):
        with house.write() as step:
            presence.say_not_now(step, site.id, reason)
        with house.read() as step:
            assert sites.partition_states(step, step.now_s)[0].drained is drained
            assert sites.site(step, site.id).not_now == (reason or None)


def test_over_http(house):
    root = house.client(house.person("root", admin=True))
    path = "/api/v1/sites/alps"
    made = root.post(f"{path}/enrolment", json={"title": "Alps"})
    assert made.status_code == 201
    assert made.headers["cache-control"] == "no-store"
    assert made.json()["hub"] == "http://hub.test"
    assert made.json()["site"]["title"] == "Alps"
    house.clock.pass_s(5)
    join(house, made.json()["secret"])
    house.clock.pass_s(5)
    follow(house, 1, 2)
    listed = root.get(f"{path}/credentials").json()["credentials"]
    assert [(one["kind"], one["state"]) for one in listed] == [
        ("agent", "counts"),
        ("agent", "counts"),
        ("enrol", "used"),
    ]
    house.clock.pass_s(600)
    states = [one["state"] for one in root.get(f"{path}/credentials").json()["credentials"]]
    assert states == ["counts", "expired", "used"]
    detail = root.get(path).json()
    assert detail["credential_ms"] == listed[0]["created_ms"]
    assert detail["about"]["rules"] == []
    with house.write() as step:
        sites.revoke(step, ROOT, "alps")
    states = [one["state"] for one in root.get(f"{path}/credentials").json()["credentials"]]
    assert states == ["revoked", "revoked", "used"]
    assert root.get(path).json()["credential_ms"] is None
    assert root.post(f"{path}/enrolment", json={"valid_s": 1}).status_code == 422
