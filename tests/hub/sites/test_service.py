"""What sites announce and lend, when they count as silent, and what moves the world."""

from __future__ import annotations

import random
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import pairwise

import pytest
from tests.hub.identity.fixtures import at_once

from meyrin.domain.errors import Conflict, InvalidInput, NotAllowed, NotFound, NotLoggedIn
from meyrin.domain.site import OwnerShare, Partition
from meyrin.hub.identity import service as identity
from meyrin.hub.plumbing import world
from meyrin.hub.plumbing.authz import Actor
from meyrin.hub.sites import presence
from meyrin.hub.sites import service as sites
from meyrin.hub.sites import shares as dated

ROOT = Actor(person="per_root", admin=True)
GPU = Partition("gpu", 4, 64, 512_000, 4, "h100", 86400, features=("ib", "nvme"))
CPU = Partition("cpu", 10, 128, 256_000, default_walltime_s=3600, whole_node=True)
US = (OwnerShare("ours", 1),)


@pytest.fixture
def alps(house):
    """A site that announced two partitions."""
    with house.write() as step:
        site, _ = sites.enrol(step, "alps", "Die Alpen")
        return sites.announce(step, site.id, "slurm", [GPU, CPU], "first")


@pytest.mark.parametrize(
    "wrong",
    [
        {"nodes": 1_000_001},
        {"nodes": 1_000_000, "cores_per_node": 1001},
        {"cores_per_node": 2**62},
        {"memory_mb_per_node": 2**40},
        {"default_walltime_s": 2**70},
        {"max_walltime_s": 2**70},
    ],
)
def test_numbers_that_no_site_has_do_not_come_in(house, alps, wrong):
    """They stopped the broker, and with it every other site."""
    with house.write() as step:
        before = sites.site(step, alps.id)
        with pytest.raises(InvalidInput, match=r"nodes at one site|partition cpu: "):
            sites.announce(step, alps.id, "slurm", [replace(CPU, **wrong)], "second")
        assert sites.site(step, alps.id) == before
        for good in ({"cores_per_node": 10**6}, {"nodes": 10**6}, {"default_walltime_s": 10**9}):
            sites.announce(step, alps.id, "slurm", [replace(CPU, **good)], "second")
        with pytest.raises(InvalidInput, match="2 partitions under 1 names"):
            sites.announce(step, alps.id, "slurm", [CPU, CPU], "second")


@contextmanager
def world_moves(house, by):
    with house.read() as step:
        before = world.version(step)
    rung = house.database.bell.count(world.BROKER)
    yield
    with house.read() as step:
        assert world.version(step) - before == by
    assert house.database.bell.count(world.BROKER) - rung == (1 if by else 0)


def states(house, **given):
    with house.read() as step:
        found = sites.partition_states(step, step.now_s, **given)
    return {(state.site, state.partition.name): state for state in found}


# --- enrolling


def test_a_site_comes_with_its_agents_credential(house):
    with house.write() as step:
        site, secret = sites.enrol(step, "alps", "Die Alpen")
    with house.read() as step:
        assert identity.authenticate(step, secret, identity.AGENT_KINDS).site == site.id
        assert sites.site_by_name(step, "alps") == sites.site(step, site.id) == site
    with house.write() as step, pytest.raises(Conflict):
        sites.enrol(step, "alps")
    with house.write() as step, pytest.raises(InvalidInput):
        sites.enrol(step, "Die Alpen")
    with house.read() as step, pytest.raises(NotFound):
        sites.site_by_name(step, "jura")


def test_a_new_credential_ends_the_old_one_at_once(house, alps):
    with house.write() as step:
        first = sites.rotate_agent_token(step, ROOT, "alps")
        second = sites.rotate_agent_token(step, ROOT, "alps")
        with pytest.raises(NotLoggedIn):
            identity.authenticate(step, first, identity.AGENT_KINDS)
        assert identity.authenticate(step, second, identity.AGENT_KINDS).site == alps.id
    with house.write() as step:
        assert sites.revoke(step, ROOT, "alps") == 1
        assert sites.revoke(step, ROOT, "alps") == 0
        with pytest.raises(NotLoggedIn):
            identity.authenticate(step, second, identity.AGENT_KINDS)


@pytest.mark.usefixtures("alps")
def test_only_who_runs_a_site_may_turn_its_knobs(house):
    secret = house.person("ada")
    with house.write() as step:
        sites.enrol(step, "jura")
        sites.add_operator(step, "alps", "ada")
        sites.add_operator(step, "alps", "ada")
    ada = house.actor(secret)
    knobs = (
        lambda step, name: sites.drain(step, ada, name, "new floor"),
        lambda step, name: sites.resume(step, ada, name),
        lambda step, name: sites.allow_projects(step, ada, name, ["prj_1"]),
        lambda step, name: sites.rotate_agent_token(step, ada, name),
        lambda step, name: sites.revoke(step, ada, name),
    )
    for knob in knobs:
        with house.write() as step:
            knob(step, "alps")
        with house.write() as step, pytest.raises(NotAllowed):
            knob(step, "jura")
        with house.write() as step, pytest.raises(NotFound):
            knob(step, "nowhere")
    with house.write() as step:
        sites.remove_operator(step, "alps", "ada")
    ada = house.actor(secret)
    with house.write() as step, pytest.raises(NotAllowed):
        sites.resume(step, ada, "alps")


# --- announcing


def test_what_is_announced_is_found_again(house, alps):
    assert alps.partitions == (CPU, GPU)
    assert (alps.batch_kind, alps.incarnation) == ("slurm", "first")
    with house.read() as step:
        assert sites.site_by_name(step, "alps") == alps
        assert presence.incarnation(step, alps.id) == "first"
    assert {state.partition for state in states(house).values()} == {CPU, GPU}


def test_the_world_moves_only_when_something_changed(house, alps):
    def say(*partitions, incarnation="first"):
        with house.write() as step:
            return sites.announce(step, alps.id, "slurm", partitions, incarnation)

    with world_moves(house, 0):
        say(CPU, GPU)
        say(GPU, CPU, incarnation="second")
    bigger = replace(GPU, nodes=5)
    with world_moves(house, 1):
        say(bigger, CPU)
    assert states(house)["alps", "gpu"].partition == bigger
    with world_moves(house, 1):
        say(CPU)
    assert set(states(house)) == {("alps", "cpu")}
    with world_moves(house, 0):
        say(CPU)
    with world_moves(house, 1):
        say(CPU, bigger)
    with world_moves(house, 1):
        assert say().partitions == ()
    assert states(house) == {}


def test_any_order_of_announcements_ends_with_the_last(house, alps):
    chance = random.Random(3)
    every = [replace(CPU, name=f"p{number}", nodes=1) for number in range(5)]
    for _ in range(15):
        now = [
            replace(one, nodes=chance.randint(1, 3))
            for one in chance.sample(every, chance.randint(0, 5))
        ]
        before = {state.partition for state in states(house).values()}
        with world_moves(house, int(before != set(now))), house.write() as step:
            sites.announce(step, alps.id, "slurm", now, "first")
        assert {state.partition for state in states(house).values()} == set(now)


def test_a_partition_is_announced_once(house, alps):
    with house.write() as step, pytest.raises(InvalidInput):
        sites.announce(step, alps.id, "slurm", [CPU, CPU], "first")
    with house.write() as step, pytest.raises(NotFound):
        sites.announce(step, "sit_none", "slurm", [CPU], "first")


# --- silence


def test_hearing_a_site_writes_at_most_once_in_five_seconds(house, alps):
    wrote = []
    for _ in range(12):
        house.clock.pass_s(1)
        with house.write() as step, house.counted(2) as statements:
            wrote.append(presence.heard(step, alps.id))
        assert len(statements) == 1 + wrote[-1]
    assert [number for number, one in enumerate(wrote, 1) if one] == [5, 10]
    house.clock.pass_s(-3600)  # a clock that was set back
    with house.write() as step:
        assert presence.heard(step, alps.id)
        assert not presence.heard(step, alps.id)
    with house.write() as step, pytest.raises(NotFound):
        presence.heard(step, "sit_none")


def test_a_site_that_comes_back_wakes_the_broker(house, alps):
    rung = house.database.bell.count(world.BROKER)
    for wait_s, rings in ((30, 0), (60, 0), (61, 1)):
        house.clock.pass_s(wait_s)
        with house.write() as step:
            presence.heard(step, alps.id)
        assert house.database.bell.count(world.BROKER) - rung == rings


def test_of_many_who_hear_a_site_at_once_one_writes(house, alps):
    def hear(_number):
        with house.write() as step:
            return presence.heard(step, alps.id)

    for _ in range(10):
        house.clock.pass_s(10)
        assert sum(at_once(8, hear)) == 1


def test_a_site_is_silent_after_a_minute_without_its_agent(house, alps):
    heard_s = house.clock.now_ms // 1000
    house.clock.pass_s(60)
    assert states(house)["alps", "gpu"].silent_since_s is None
    house.clock.pass_s(1)
    assert states(house)["alps", "gpu"].silent_since_s == heard_s
    assert states(house, silent_after_s=120)["alps", "gpu"].silent_since_s is None
    with house.write() as step:
        presence.heard(step, alps.id)
    assert states(house)["alps", "gpu"].silent_since_s is None


@pytest.mark.usefixtures("alps")
def test_a_restarted_hub_gives_every_site_time_to_call(house):
    house.clock.pass_s(86400)
    start_s = house.clock.now_ms // 1000
    assert states(house, hub_start_s=start_s)["alps", "gpu"].silent_since_s is None
    house.clock.pass_s(61)
    assert states(house, hub_start_s=start_s)["alps", "gpu"].silent_since_s == start_s


# --- draining and rules


@pytest.mark.usefixtures("alps")
def test_draining_moves_the_world_once(house):
    with world_moves(house, 1), house.write() as step:
        assert sites.drain(step, ROOT, "alps", "neuer Boden").drained_reason == "neuer Boden"
    with world_moves(house, 0), house.write() as step:
        sites.drain(step, ROOT, "alps", "neuer Boden")
    assert all(state.drained for state in states(house).values())
    with world_moves(house, 1), house.write() as step:
        assert sites.resume(step, ROOT, "alps").drained_reason is None
    with world_moves(house, 0), house.write() as step:
        sites.resume(step, ROOT, "alps")
    assert not any(state.drained for state in states(house).values())
    with house.write() as step, pytest.raises(InvalidInput):
        sites.drain(step, ROOT, "alps", " ")


@pytest.mark.usefixtures("alps")
def test_a_site_may_let_some_projects_in(house):
    for value, seen in ((["prj_b", "prj_a", "prj_b"], ("prj_a", "prj_b")), ([], ()), (None, None)):
        with world_moves(house, 1), house.write() as step:
            sites.allow_projects(step, ROOT, "alps", value)
        assert states(house)["alps", "gpu"].allowed_projects == seen
        with world_moves(house, 0), house.write() as step:
            sites.allow_projects(step, ROOT, "alps", value)


# --- offers


def test_an_offer_holds_from_its_start_until_just_before_its_end(house, alps):
    shares = (OwnerShare("theirs", 2), OwnerShare("ours", 1))
    with world_moves(house, 1), house.write() as step:
        offer = sites.lend(step, "alps", "gpu", shares, start_s=100, end_s=200)
    assert offer.shares == (OwnerShare("ours", 1), OwnerShare("theirs", 2))
    with house.read() as step:
        for now_s, there in ((99, False), (100, True), (199, True), (200, False)):
            assert sites.offers_at(step, now_s) == ({("alps", "gpu"): offer} if there else {})
            found = sites.partition_states(step, now_s)
            assert [(one.partition.name, one.offered) for one in found] == [
                ("cpu", False),
                ("gpu", there),
            ]
        assert dated.shares_at(step, {(offer.id, 5)}) == {(offer.id, 5): offer.shares}
        assert sites.ids_of(step, {"alps", "jura"}) == {"alps": alps.id}


@pytest.mark.usefixtures("alps")
def test_a_second_is_lent_once(house):
    with house.write() as step:
        sites.lend(step, "alps", "gpu", US, start_s=100, end_s=200)
        sites.lend(step, "alps", "gpu", US, start_s=200, end_s=300)
        assert sites.lend(step, "alps", "CPU", US, start_s=150).partition == "cpu"
        for name, start_s, end_s in (
            ("gpu", 50, 101),
            ("gpu", 150, 160),
            ("gpu", 199, None),
            ("gpu", 0, None),
            ("cpu", 0, None),
            ("cpu", 10**9, 2 * 10**9),
        ):
            with pytest.raises(Conflict):
                sites.lend(step, "alps", name, US, start_s=start_s, end_s=end_s)
        sites.lend(step, "alps", "gpu", US, start_s=0, end_s=100)
        sites.lend(step, "alps", "gpu", US, start_s=300)


@pytest.mark.usefixtures("alps")
def test_random_offers_never_overlap(house):
    chance = random.Random(11)
    for _ in range(40):
        start_s = chance.randint(0, 60)
        end_s = chance.choice([None, *(start_s + chance.randint(1, 15) for _ in range(9))])
        with house.write() as step, suppress(Conflict):
            sites.lend(step, "alps", "gpu", US, start_s=start_s, end_s=end_s)
    with house.read() as step:
        found = {
            (one.start_s, one.end_s or 10**12)
            for now_s in range(80)
            for one in sites.offers_at(step, now_s).values()
        }
    spans = sorted(found)
    assert len(spans) > 2
    assert all(one[1] <= following[0] for one, following in pairwise(spans))


@pytest.mark.usefixtures("alps")
def test_of_ten_who_lend_the_same_at_once_one_does(house):
    def attempt(_number):
        try:
            with house.write() as step:
                return sites.lend(step, "alps", "gpu", US, start_s=0)
        except Conflict:
            return None

    assert sum(found is not None for found in at_once(10, attempt)) == 1


def test_an_offer_can_end_earlier_but_not_in_the_past_nor_later(house, alps):
    now_s = house.clock.now_ms // 1000
    with house.write() as step:
        offer = sites.lend(step, "alps", "gpu", US, start_s=0)
        for end_s in (now_s - 1, -1):
            with pytest.raises(InvalidInput):
                sites.end_offer(step, "alps", offer.id, end_s)
        sites.end_offer(step, "alps", offer.id, now_s + 50)
        with pytest.raises(InvalidInput):
            sites.end_offer(step, "alps", offer.id, now_s + 51)
        with pytest.raises(NotFound):
            sites.end_offer(step, "alps", "off_none")
    with world_moves(house, 1), house.write() as step:
        sites.end_offer(step, "alps", offer.id)
        assert sites.offers_at(step, now_s) == {}
        assert sites.offers_of(step, alps) == []
    with house.write() as step:
        later = sites.lend(step, "alps", "gpu", US, start_s=now_s + 100)
        assert sites.offers_of(step, alps) == [later]
        sites.end_offer(step, "alps", later.id)  # taken back before it began
        sites.lend(step, "alps", "gpu", US, start_s=now_s)
        assert sites.offers_at(step, now_s + 100)["alps", "gpu"].id != later.id


@pytest.mark.parametrize(
    ("partition", "shares", "start_s", "end_s"),
    [
        ("gpu", (), 0, None),
        ("gpu", (OwnerShare("ours", 0),), 0, None),
        ("gpu", (OwnerShare("ours", -1),), 0, None),
        ("gpu", (OwnerShare("Our Bank", 1),), 0, None),
        ("gpu", US * 2, 0, None),
        ("the gpu", US, 0, None),
        ("gpu", US, -1, None),
        ("gpu", US, 10, 10),
        ("gpu", US, 10, 9),
    ],
)
@pytest.mark.usefixtures("alps")
def test_an_offer_that_makes_no_sense_is_refused(house, partition, shares, start_s, end_s):
    with house.write() as step, pytest.raises(InvalidInput):
        sites.lend(step, "alps", partition, shares, start_s=start_s, end_s=end_s)


# --- how many queries


@pytest.mark.parametrize("many", [2, 40])
def test_many_sites_take_as_many_queries_as_few(house, many):
    with house.write() as step:
        for number in range(many):
            site, _ = sites.enrol(step, f"s{number:02}")
            sites.announce(step, site.id, "slurm", [GPU, CPU], "first")
            sites.lend(step, site.name, "gpu", (*US, OwnerShare("theirs", 3)), start_s=0)
    with house.read() as step:
        with house.counted(1):
            assert len(sites.partition_states(step, step.now_s)) == 2 * many
        with house.counted(1):
            offers = sites.offers_at(step, step.now_s)
        assert len(offers) == many
        with house.counted(1):
            dated.shares_at(step, {(offer.id, 5) for offer in offers.values()})
        with house.counted(1):
            sites.ids_of(step, [f"s{number:02}" for number in range(many)])
        seen, after = [], ""
        while True:
            with house.counted(2):
                found, after = sites.sites(step, after, 15)
            seen += found
            if not after:
                break
    assert [one.name for one in seen] == [f"s{number:02}" for number in range(many)]
    assert all(one.partitions == (CPU, GPU) for one in seen)
