"""Accounts and limits in step with projects: order, share, and never on nothing seen."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from meyrin.agent.config import LimitsConfig, SlurmConfig
from meyrin.agent.slurm.limits import (
    Manner,
    Seen,
    Stage,
    Wanted,
    differences,
    limit_min,
    most_removals,
)
from meyrin.agent.slurm.reconcile import Reconciler
from meyrin.domain.errors import Failed, Unreachable
from meyrin.wire.limits import Left, ProjectLimits

GPU = "gres/gpu:h100"
PEOPLE = {"ada": "u-ada", "bob": "u-bob", "eve": "u-eve"}
ROOT = {"root": Seen(""), "meyrin": Seen("root")}


def project(name, *people, **left_s):
    return ProjectLimits(project=name, people=list(people), left_s=left_s or {"h100": 3600})


class Cluster:
    """A cluster's accounting in memory, strict as the real one; `faults` fail a call each."""

    def __init__(self, seen=None, faults=()):
        self.seen = dict(ROOT if seen is None else seen)
        self.faults = list(faults)
        self.done = []
        self.counted = frozenset({"cpu", GPU})

    def _maybe(self, what):
        if self.faults:
            fault = self.faults.pop(0)
            if fault:
                raise fault(f"{what} failed")

    def look(self):
        self._maybe("look")
        if not self.seen:
            raise Unreachable("nothing seen")
        return dict(self.seen)

    def resources(self):
        return self.counted

    def mend(self, change, parent):
        self._maybe("mend")
        name = change.account
        if change.kind == "account":
            assert name == parent or parent in self.seen, "an account before its parent"
            new = Seen("root") if name == parent else Seen(parent, closed=True)
            self.seen.setdefault(name, new)
        else:
            assert name in self.seen, f"{change.kind} before its account"
            self.seen[name] = self._changed(self.seen[name], change)
        self.done.append(change)

    @staticmethod
    def _changed(there, change):
        if change.kind == "user":
            return replace(there, users=there.users | {change.user})
        if change.kind == "remove":
            return replace(there, users=there.users - {change.user})
        if change.kind == "limit":
            return replace(there, limits_min={**there.limits_min, **change.limits_min})
        if change.kind == "open":
            assert "agent" in there.users, "open before whoever submits is there"
            assert there.limits_min, "open before it is limited"
        return replace(there, closed=change.kind == "close")


def keep(cluster, mode="apply", mapped=None, **settings):
    config = LimitsConfig(mode=mode, people=PEOPLE, **settings)
    return Reconciler(cluster, config, mapped or {}, "agent")


def outcomes(done):
    return [(line.kind, line.account, line.user, line.outcome) for line in done.lines]


def test_from_nothing_in_order():
    cluster = Cluster({"root": Seen("")})
    done = keep(cluster).once([project("lab", "ada", "stranger")])
    assert outcomes(done) == [
        ("account", "meyrin", "", "done"),
        ("account", "m_lab", "", "done"),
        ("user", "m_lab", "agent", "done"),
        ("user", "m_lab", "u-ada", "done"),
        ("limit", "m_lab", "", "done"),
        ("open", "m_lab", "", "done"),
    ]
    assert cluster.seen["m_lab"].limits_min == {GPU: 60}
    assert keep(cluster).once([project("lab", "ada")]).lines == ()


def test_capitals_in_the_settings_are_no_difference():
    """Slurm keeps the names of accounts without."""
    cluster = Cluster()
    names = {"parent": "Meyrin", "prefix": "M_", "tres": {"H100": "gres/other:H100"}}
    config = LimitsConfig(mode="apply", people=PEOPLE, **names)
    cluster.counted |= {"gres/other:h100"}
    mapped = SlurmConfig(accounts={"sea": "Marine"}, default_account="Astro")
    assert mapped.default_account == "astro"
    keeper = Reconciler(cluster, config, mapped.accounts, "agent")
    projects = [project("lab", "ada"), project("sea", "bob")]
    assert keeper.once(projects).lines
    assert set(cluster.seen) == {"root", "meyrin", "m_lab", "marine"}
    assert cluster.seen["m_lab"].limits_min == {"gres/other:h100": 60}
    assert keeper.once(projects).lines == ()


def test_to_look_changes_nothing():
    cluster = Cluster()
    done = keep(cluster, mode="report").once([project("lab", "ada")])
    assert {line.outcome for line in done.lines} == {"reported"}
    assert len(done.lines) == 3
    assert cluster.done == []


def test_a_hub_that_names_nothing_is_no_reason_to_close_everything():
    cluster = Cluster({**ROOT, "m_lab": Seen("meyrin", frozenset({"agent"}))})
    done = keep(cluster, most_removed_percent=100).once([])
    assert done.lines == ()
    assert "names no project" in done.words
    assert cluster.done == []


def test_accounting_that_shows_nothing_is_no_reason_either():
    cluster = Cluster(seen={})
    with pytest.raises(Unreachable):
        keep(cluster).once([project("lab")])
    assert cluster.done == []


def test_a_limit_leaves_what_is_left_whatever_was_used_before():
    assert limit_min(3600, 100) == 160
    assert limit_min(61, 0) == 2
    cluster = Cluster({**ROOT, "m_lab": Seen("meyrin", frozenset({"agent"}), {GPU: 60}, {GPU: 50})})
    keep(cluster).once([project("lab", h100=3600)])
    assert cluster.seen["m_lab"].limits_min[GPU] == 110


def test_small_steps_are_spared_but_an_end_is_exact():
    def left(seconds, now, used=0):
        seen = {**ROOT, "m_lab": Seen("meyrin", frozenset({"agent"}), {GPU: now}, {GPU: used})}
        found = differences(
            [Wanted("m_lab", frozenset({"agent"}), {GPU: seconds}, "agent")], seen, Manner()
        )
        return [dict(each.limits_min) for each in found]

    assert left(60 * 1000, 1050) == []
    assert left(60 * 1000, 1051) == [{GPU: 1000}]
    assert left(0, 41, used=40) == [{GPU: 40}]
    assert left(0, 40, used=40) == []


def test_a_limit_of_the_sites_own_stays():
    cluster = Cluster({**ROOT, "m_lab": Seen("meyrin", frozenset({"agent"}), {"node": 5})})
    keep(cluster).once([project("lab")])
    assert cluster.seen["m_lab"].limits_min == {"node": 5, GPU: 60}


def test_what_stands_elsewhere_is_told_and_left_alone():
    cluster = Cluster({**ROOT, "astro": Seen("root", frozenset({"somebody"}))})
    done = keep(cluster, mapped={"lab": "astro"}).once([project("lab", "ada")])
    assert outcomes(done) == [("foreign", "astro", "", "reported")]
    assert cluster.done == []


def test_projects_that_share_an_account_are_added_up():
    cluster = Cluster()
    mapped = {"lab": "shared", "sea": "shared"}
    keep(cluster, mapped=mapped).once([project("lab", "ada"), project("sea", "bob")])
    assert cluster.seen["shared"].limits_min == {GPU: 120}
    assert cluster.seen["shared"].users == {"agent", "u-ada", "u-bob"}


def test_what_the_site_does_not_count_is_told():
    cluster = Cluster()
    done = keep(cluster).once([project("lab", h100=60, a100=60)])
    (line,) = [line for line in done.lines if line.wanted == "gres/gpu:a100"]
    assert (line.outcome, "AccountingStorageTRES" in line.why) == ("reported", True)


def test_cores_are_limited_only_where_nothing_else_is_charged():
    cluster = Cluster()
    keep(cluster).once([project("lab", h100=60, core=60), project("sea", core=60)])
    assert cluster.seen["m_lab"].limits_min == {GPU: 1}
    assert cluster.seen["m_sea"].limits_min == {"cpu": 1}
    keep(cluster, tres={"core": "cpu"}).once([project("lab", h100=60, core=600)])
    assert cluster.seen["m_lab"].limits_min == {GPU: 1, "cpu": 10}


def many(count):
    return {
        **ROOT,
        **{f"m_p{n}": Seen("meyrin", frozenset({"agent"}), {GPU: 60}) for n in range(count)},
    }


def test_no_pass_takes_away_more_than_its_share():
    cluster = Cluster(many(20))
    done = keep(cluster, most_removed_percent=10).once([project("p0")])
    taken = [line for line in done.lines if line.outcome == "done"]
    waits = [line for line in done.lines if line.outcome == "later"]
    assert (len(taken), len(waits)) == (4, 15)
    assert "10 %" in waits[0].why
    for _ in range(8):
        keep(cluster, most_removed_percent=10).once([project("p0")])
    left = [name for name, each in cluster.seen.items() if not each.closed]
    assert sorted(left) == ["m_p0", "meyrin", "root"]
    assert all(name in cluster.seen for name in many(20)), "closed, never deleted"


def test_a_balance_that_ends_counts_as_taking_away():
    cluster = Cluster(many(20))
    done = keep(cluster, most_removed_percent=5).once([project(f"p{n}", h100=0) for n in range(20)])
    assert sum(line.outcome == "done" for line in done.lines) == 2
    nearly = keep(Cluster(many(20)), most_removed_percent=0)
    for left_s, outcome in ((1, "later"), (359, "later"), (360, "done")):
        done = nearly.once([project(f"p{n}", h100=left_s) for n in range(20)])
        assert {line.outcome for line in done.lines} == {outcome}, left_s
    none = keep(Cluster(many(20)), most_removed_percent=0).once([project("p1")])
    assert {line.outcome for line in none.lines} == {"later"}


def test_use_that_decays_keeps_no_removal_and_no_other_cut_waiting():
    """Limits of balances that ended follow it down in each pass, of which one has room."""
    used = {GPU: 10_000}
    cluster = Cluster(
        {**ROOT, "m_lab": Seen("meyrin", frozenset({"agent", "u-ada", "u-bob"}), used, used),
         "m_sea": Seen("meyrin", frozenset({"agent"}), used, used)}
    )  # fmt: skip
    ended = [project("lab", "ada", h100=0), project("sea", h100=0)]
    for _ in range(6):
        used = {GPU: used[GPU] - 5}
        for name in ("m_lab", "m_sea"):
            cluster.seen[name] = replace(cluster.seen[name], used_min=used)
        keep(cluster).once(ended)
    assert cluster.seen["m_lab"].users == {"agent", "u-ada"}
    left = {name: cluster.seen[name].limits_min[GPU] - used[GPU] for name in ("m_lab", "m_sea")}
    assert max(left.values()) <= 10, left


def test_who_comes_back_is_let_in_again():
    cluster = Cluster({**ROOT, "m_lab": Seen("meyrin", frozenset({"agent"}), {GPU: 60}, {}, True)})
    done = keep(cluster).once([project("lab")])
    assert outcomes(done) == [("open", "m_lab", "", "done")]
    assert not cluster.seen["m_lab"].closed


def test_a_no_of_one_account_stops_no_other():
    faults = [None, Failed, None]  # the look, the first mend, the next
    cluster = Cluster(faults=faults)
    done = keep(cluster).once([project("lab"), project("sea")])
    assert ("account", "m_lab", "", "failed") in outcomes(done)
    assert ("user", "m_lab", "agent", "later") in outcomes(done)
    assert ("limit", "m_sea", "", "done") in outcomes(done)
    assert "m_lab" in {line.account for line in done.lines if line.outcome == "later"}


@pytest.mark.parametrize("seed", range(200))
def test_laws_under_faults(seed):
    """Whatever fails: the order holds (the double asserts it), the share is never passed, only
    ours is touched, and once nothing fails any more, a few passes bring it into step."""
    chance = random.Random(seed)
    names = [f"p{n}" for n in range(6)]
    seen = {**ROOT, "astro": Seen("root", frozenset({"x"}), {GPU: 1})}
    for name in chance.sample(names, 3):
        users = frozenset(chance.sample(["agent", "u-ada", "u-bob", "u-eve"], 2))
        seen[f"m_{name}"] = Seen(
            "meyrin", users, {GPU: chance.randrange(200)}, {GPU: chance.randrange(100)},
            chance.random() < 0.3,
        )  # fmt: skip
    wanted = [
        project(name, *chance.sample(sorted(PEOPLE), 2), h100=chance.choice([0, 60, 9000]))
        for name in chance.sample(names, 4)
    ]
    cluster = Cluster(seen)
    percent = chance.choice([5, 20, 50])
    for each in range(30):
        cluster.faults = [
            chance.choice([None, None, Unreachable, Failed]) for _ in range(8 if each < 6 else 0)
        ]
        before = len(cluster.done)
        room = most_removals(cluster.seen, Manner(most_removed_percent=percent))
        try:
            done = keep(cluster, most_removed_percent=percent).once(wanted)
        except (Unreachable, Failed):
            done = None
        taken = sum(change.takes_away for change in cluster.done[before:])
        assert taken <= room
        assert cluster.seen["astro"] == seen["astro"]
    assert done is not None
    assert done.lines == ()
    for each in wanted:
        assert not cluster.seen[f"m_{each.project}"].closed
    stages = [change.stage for change in cluster.done]
    assert set(stages) <= set(Stage)


# --- people who left


def gone(person, project_name="lab", departure="dep_1"):
    return Left(departure=departure, project=project_name, person=person)


def with_two():
    cluster = Cluster()
    keep(cluster).once([project("lab", "ada", "bob"), project("sea", "bob")])
    assert cluster.seen["m_lab"].users == {"agent", "u-ada", "u-bob"}
    cluster.done.clear()
    return cluster


def said(cluster, left, projects, **more):
    return [(one.outcome, one.words) for one in keep(cluster, **more).revoke(left, projects)]


def test_who_left_is_out_of_the_account_and_of_no_other():
    cluster, stays = with_two(), [project("lab", "ada"), project("sea", "bob")]
    assert said(cluster, [gone("bob")], stays) == [("revoked", "u-bob is not in m_lab")]
    assert cluster.seen["m_lab"].users == {"agent", "u-ada"}
    assert cluster.seen["m_sea"].users == {"agent", "u-bob"}
    assert [(each.kind, each.account, each.user) for each in cluster.done] == [
        ("remove", "m_lab", "u-bob")
    ]
    # asked again, nothing is left to do, and the answer is the same
    assert said(cluster, [gone("bob")], stays) == [("revoked", "u-bob is not in m_lab")]
    assert len(cluster.done) == 1


def test_a_hub_that_names_nobody_who_stays_is_no_reason_to_take_somebody_out():
    """As while the site announces no partition: bob is still in sea, which shares the account."""
    mapped = {"lab": "shared", "sea": "shared"}
    cluster = Cluster()
    keeper = keep(cluster, mapped=mapped)
    keeper.once([project("lab", "ada", "bob"), project("sea", "bob")])
    cluster.done.clear()
    for projects in ([], [project("sea")]):
        (found,) = keeper.revoke([gone("bob")], projects)
        assert (found.outcome, cluster.done) == ("failed", [])
        assert "nobody who stays" in found.words
    assert "u-bob" in cluster.seen["shared"].users


def test_the_last_who_leaves_is_taken_out_too():
    """The hub names the project, and nobody in it."""
    cluster = Cluster()
    keep(cluster).once([project("lab", "bob")])
    assert said(cluster, [gone("bob")], [project("lab")]) == [("revoked", "u-bob is not in m_lab")]
    assert cluster.seen["m_lab"].users == {"agent"}


def test_a_log_in_with_capitals_is_the_one_that_slurm_keeps_without():
    cluster = with_two()
    config = LimitsConfig(mode="apply", people={"ada": "U-Ada", "bob": "U-Bob"})
    keeper = Reconciler(cluster, config, {}, "Agent")
    assert keeper.once([project("lab", "ada", "bob"), project("sea", "bob")]).lines == ()
    (back,) = keeper.revoke([gone("bob")], [project("lab", "ada", "bob")])
    assert (back.outcome, cluster.done) == ("failed", [])
    (found,) = keeper.revoke([gone("bob")], [project("lab", "ada")])
    assert found.outcome == "revoked"
    assert cluster.seen["m_lab"].users == {"agent", "u-ada"}


def test_it_counts_against_no_share_of_removals():
    cluster = with_two()
    found = said(cluster, [gone("bob")], [project("lab", "ada")], most_removed_percent=0)
    assert found == [("revoked", "u-bob is not in m_lab")]


def test_who_left_stays_in_an_account_of_the_sites_own():
    """It is not below ours, whatever project the settings map to it; its operators see to it."""
    own = {**ROOT, "cl01": Seen("root", frozenset({"agent", "u-ada", "u-bob"}))}
    for projects in ([project("lab", "ada")], [project("lab", "ada", "bob")], []):
        cluster = Cluster(own)
        (found,) = said(cluster, [gone("bob")], projects, mapped={"lab": "cl01"})
        words = "u-bob is in cl01, which is not below meyrin: not ours to change"
        assert (found, cluster.done) == (("unkept", words), [])


def test_what_can_not_be_confirmed_is_not():
    """Only looking, an accounting that refuses, a person without a user, and one who came back."""
    stays = [project("lab", "ada")]
    (report,) = said(with_two(), [gone("bob")], stays, mode="report")
    assert report == ("failed", "limits.mode is report: nothing is changed here")
    refusing = with_two()
    refusing.faults = [None, Failed]
    assert said(refusing, [gone("bob")], stays) == [("failed", "mend failed")]
    assert "u-bob" in refusing.seen["m_lab"].users
    (none,) = said(with_two(), [gone("stranger")], stays)
    assert none == ("no-user", "they have no user at this site")
    back = with_two()
    (again,) = said(back, [gone("bob")], [project("lab", "ada", "bob")])
    assert again == ("failed", "u-bob is in m_lab for another reason, and stays")
    assert "u-bob" in back.seen["m_lab"].users
    away = with_two()
    away.faults = [Unreachable]
    with pytest.raises(Unreachable):
        said(away, [gone("bob")], stays)


def test_the_one_who_submits_for_everybody_is_never_taken_out():
    cluster = with_two()
    config = LimitsConfig(mode="apply", people={"boss": "agent"})
    (found,) = Reconciler(cluster, config, {}, "agent").revoke([gone("boss")], [])
    assert (found.outcome, cluster.done) == ("failed", [])
    assert "agent" in cluster.seen["m_lab"].users
