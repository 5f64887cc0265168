"""The settings file of a running agent: read again, refused when it is wrong, never half taken."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from structlog.testing import capture_logs
from tests.agent.scripted import Site

from meyrin.agent import config as settings
from meyrin.agent.check import newly_wrong
from meyrin.agent.slurm.reconcile import Reconciler, keeper
from meyrin.agent.slurm.transport import AssociationFacts
from meyrin.agent.watched import Watched, in_force
from meyrin.domain.errors import Unreachable

TEXT = """
hub = "http://hub.test"
credential_file = "credential"
dir = "state"
[rules]
max_jobs_at_once = 1
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "agent.toml"
    path.write_text(TEXT)
    return path


def edit(path, text):
    """A new file in its place, as editors do; its date need not move on."""
    new = path.with_suffix(".new")
    new.write_text(text)
    os.utime(new, (1, 1))
    new.replace(path)


def test_an_edit_is_taken_once(file):
    present, watched = settings.load(file), Watched(file)
    assert watched.look(present) is None
    edit(file, TEXT.replace("= 1", "= 5"))
    found = watched.look(present)
    assert found.rules.max_jobs_at_once == 5
    assert watched.look(found) is None
    assert watched.trouble == ""


@pytest.mark.parametrize(
    "text",
    ["[rules", TEXT.replace("max_jobs", "max_job"), TEXT.replace("= 1", '= "many"'), "",
     TEXT + 'quiet_hours = ["some"]', TEXT + 'time_zone = "Moon"'],
)  # fmt: skip
def test_a_bad_edit_keeps_the_rules_before_and_says_so(file, text):
    present, watched = settings.load(file), Watched(file)
    edit(file, text)
    assert watched.look(present) is None
    assert "those before hold" in watched.trouble
    assert watched.look(present) is None  # said once, not read again
    edit(file, TEXT.replace("= 1", "= 2"))
    assert watched.look(present).rules.max_jobs_at_once == 2
    assert watched.trouble == ""


def test_a_file_that_is_gone_changes_nothing(file):
    present, watched = settings.load(file), Watched(file)
    file.unlink()
    assert watched.look(present) is None
    assert watched.trouble
    file.write_text(TEXT)
    assert watched.look(present) is None
    assert watched.trouble == ""


def test_what_needs_a_new_start_waits_for_one_and_is_said(file):
    present, watched = settings.load(file), Watched(file)
    edit(file, TEXT.replace("hub.test", "other.test").replace("= 1", "= 3"))
    found = watched.look(present)
    assert (found.hub, found.rules.max_jobs_at_once) == ("http://hub.test", 3)
    assert watched.trouble.startswith("hub: a running agent does not take this key")
    assert "start it anew" in watched.trouble


def test_a_signal_reads_it_whatever_its_date(file):
    present, watched = settings.load(file), Watched(file)
    status = file.stat()
    file.write_text(TEXT.replace("= 1", "= 7"))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert watched.look(present) is None  # the same size, the same date
    watched.wake()
    assert watched.look(present).rules.max_jobs_at_once == 7


def test_new_rules_hold_for_what_comes_and_leave_what_runs(tmp_path, file):
    site = Site(tmp_path / "site", rules={"max_jobs_at_once": 1})
    agent = site.agent()
    agent.watched = Watched(file)
    for _ in range(3):
        site.hub.add()
    agent.hello()
    site.cycle(agent)
    assert len(site.batch.waiting()) == 1
    edit(file, TEXT.replace("= 1", "= 2"))
    agent.settings_once()
    assert agent._queue.is_set(), "the queue's snapshots go on, or end, at once"
    site.cycle(agent)
    assert len(site.batch.waiting()) == 2
    edit(file, TEXT.replace("max_jobs_at_once = 1", 'drained = "new cooling"'))
    agent.settings_once()
    site.cycle(agent)
    assert len(site.batch.waiting()) == 2
    assert site.hub.not_now[-1] == "new cooling"
    edit(file, "no TOML")
    agent.settings_once()
    site.cycle(agent)
    assert site.hub.not_now[-1] == "new cooling"
    assert "those before hold" in site.hub.heard[-1][1].trouble
    site.close()


def test_a_signal_has_the_site_looked_at_too(tmp_path, file):
    site = Site(tmp_path / "site")
    agent = site.agent()
    agent.watched = Watched(file)
    agent.hello()
    looks = []
    described = site.batch.partitions
    site.batch.partitions = lambda: looks.append(1) or described()
    agent.settings_once()
    assert looks == []
    agent.read_settings()
    agent.settings_once()
    agent.settings_once()
    assert looks == [1]
    site.close()


def test_settings_hold_where_the_batch_system_is_away_right_after_it_took_them(tmp_path, file):
    site = Site(tmp_path / "site")
    agent = site.agent()
    agent.watched = Watched(file)
    agent.hello()
    described, away = site.batch.partitions, [Unreachable("no controller")]

    def partitions():
        if away:
            raise away.pop()
        return described()

    site.batch.partitions, site.batch.use = partitions, lambda _: None
    site.batch.wrong = lambda _: {}
    edit(file, TEXT.replace("= 1", "= 7"))
    with pytest.raises(Unreachable):
        agent.settings_once()
    assert agent.config.rules.max_jobs_at_once == agent.door.config.rules.max_jobs_at_once == 7
    site.batch.partitions = lambda: away.append(1) or described()
    agent.settings_once()
    assert away == [1], "it is asked again at once what it has"
    site.close()


def test_a_job_for_which_its_partition_became_too_small_is_refused_and_does_not_fail(tmp_path):
    site = Site(tmp_path / "site")
    agent = site.agent()
    agent.hello()
    had = site.batch.partitions()[0]
    less = replace(had, max_walltime_s=300)
    site.batch.partitions = lambda: (less,)
    agent.read_settings()
    heard = len(site.hub.heard)
    agent.settings_once()
    assert [told[0] for told in site.hub.heard[heard:]] == [[less]], "the hub hears of it at once"
    work = site.hub.add()
    site.cycle(agent)
    (said,) = site.hub.reports[work.attempt]
    assert (said.phase, said.for_now) == ("refused", True), "it may grow again"
    assert said.why == f"asks 600 s of wall time, {had.name} gives 300"
    assert not site.batch.submits
    site.close()


def test_what_an_earlier_start_took_is_not_given_back_for_its_partition(tmp_path):
    """It may run already."""
    site = Site(tmp_path / "site")
    agent = site.agent()
    agent.hello()
    work = site.hub.add()
    agent._hand_over = lambda _: None
    agent.lease_once(0)
    less = replace(site.batch.partitions()[0], max_walltime_s=300)
    site.batch.partitions = lambda: (less,)
    agent = site.agent()
    agent.hello()
    site.cycle(agent)
    assert "refused" not in {said.phase for said in site.hub.reports[work.attempt]}
    assert site.batch.submits[work.attempt] == 1
    site.close()


def test_an_offer_that_is_edited_and_one_that_is_not_lent_are_told(tmp_path, file):
    site = Site(tmp_path / "site")
    agent = site.agent()
    agent.watched = Watched(file)
    agent.hello()
    edit(file, TEXT + '[[offer]]\npartition = "cpu"\nowners = { uni = 1 }\n')
    for once in (agent.settings_once, agent.hello):  # at once, and as at a new start
        with capture_logs() as lines:
            once()
        (told,) = [one for one in lines if one["event"] == "agent.offer_differs"]
        assert told["words"] == "[[offer]] of cpu (uni = 1, on and on) is not lent"
        assert "meyrin site offer alps cpu --owner uni=1" in told["hint"]
    site.close()


SLURM = (
    TEXT
    + """
[slurm]
default_account = "astro"
[slurm.accounts]
lab = "astro"
"""
)


def of_slurm(text=SLURM):
    return text.replace('dir = "state"', 'dir = "state"\nbatch = "slurm"')


def test_accounts_are_taken_while_jobs_run_and_how_slurm_is_reached_is_not(file):
    edit(file, of_slurm())
    present, watched = settings.load(file), Watched(file)
    edit(file, of_slurm(SLURM.replace('lab = "astro"', 'lab = "geo"')))
    found = watched.look(present)
    assert (found.slurm.accounts, watched.trouble) == ({"lab": "geo"}, "")
    more = SLURM.replace("[slurm]", '[slurm]\ntransport = "rest"\nsecond_look_days = 7')
    edit(file, of_slurm(more))
    after = watched.look(found)
    assert (after.slurm.transport, after.slurm.second_look_days) == ("command", 7)
    assert watched.trouble.startswith("slurm.transport: a running agent does not take this key")


def test_limits_and_graces_are_taken_while_jobs_run(tmp_path, file):
    """The limits that follow allocations are kept by new ones, from the next pass on at once."""
    edit(file, of_slurm())
    present = settings.load(file)
    site = Site(tmp_path / "site")
    agent = site.agent()
    agent.config, agent.watched = present, Watched(file)
    agent.keeper_of = keeper
    assert agent.keeper is None
    edit(
        file, of_slurm(TEXT + '[limits]\nmode = "report"\n').replace("hub =", "grace_s = 7\nhub =")
    )
    agent.settings_once()
    assert (agent.config.grace_s, agent.watched.trouble) == (7, "")
    assert isinstance(agent.keeper, Reconciler)
    edit(file, of_slurm(TEXT))
    agent.settings_once()
    assert agent.keeper is None
    site.close()


def test_limits_that_this_site_can_not_keep_are_refused(tmp_path, file):
    site = Site(tmp_path / "site")
    agent = site.agent()
    agent.config, agent.watched = settings.load(file), Watched(file)
    agent.keeper_of = keeper
    edit(file, TEXT + '[limits]\nmode = "report"\n')
    agent.settings_once()
    assert agent.config.limits.mode == "off"
    assert "those before hold" in agent.watched.trouble
    site.close()


def test_how_many_are_sent_at_once_is_taken_between_two_rounds(tmp_path, file):
    from tests.agent.slurm.test_status import Site as Cluster

    cluster = Cluster(tmp_path / "cluster")
    edit(file, of_slurm(TEXT + "[slurm]\nsubmits_at_once = 3\n"))
    cluster.batch.use(settings.load(file))
    cluster.submit()
    assert cluster.seen().batch_job
    assert cluster.batch.sender.width == 3
    cluster.batch.sender.close()


def test_what_names_something_that_is_not_there_is_refused_whole(tmp_path, file):
    note = tmp_path / "settings.json"
    present, watched = settings.load(file), Watched(file, note, lambda: 17)
    first = in_force(note)
    edit(file, TEXT.replace("= 1", "= 9"))
    assert watched.look(present, lambda _: "no such account (there are: geo)") is None
    assert "those before hold" in watched.trouble
    now = in_force(note)
    assert (now.digest, now.since_ms) == (first.digest, 17)
    assert "there are: geo" in now.trouble
    edit(file, TEXT.replace("= 1", "= 3"))
    assert watched.look(present).rules.max_jobs_at_once == 3
    assert in_force(note).trouble == ""
    assert in_force(note).digest != first.digest


def test_what_cannot_be_checked_now_is_looked_at_again(file):
    present, watched = settings.load(file), Watched(file)
    edit(file, TEXT.replace("= 1", "= 3"))

    def away(_config):
        raise Unreachable("Slurm does not answer")

    with pytest.raises(Unreachable):
        watched.look(present, away)
    assert watched.look(present).rules.max_jobs_at_once == 3


def test_an_agent_goes_on_with_other_accounts_and_refuses_those_that_slurm_lacks(tmp_path, file):
    """On the double of a cluster: the next job goes out under the new account."""
    from tests.agent.slurm.test_status import Site as Cluster

    cluster = Cluster(tmp_path / "cluster")
    described = cluster.batch.transport.describe()
    known = replace(described, accounting=True, associations=(AssociationFacts("geo"),))
    cluster.batch.transport.describe = lambda: known
    edit(file, of_slurm(TEXT))
    present, watched = settings.load(file), Watched(file)

    def wrong(new):
        return newly_wrong(cluster.batch, cluster.batch.partitions(), present, new)

    edit(file, of_slurm())
    assert watched.look(present, wrong) is None
    assert "has no account astro (for lab)" in watched.in_force.trouble
    assert "there are: geo" in watched.in_force.trouble
    edit(file, of_slurm(SLURM.replace("astro", "geo")))
    cluster.batch.use(watched.look(present, wrong))
    cluster.submit("a", project="lab")
    assert cluster.batch.book.jobs["a"].submission.account == "geo"
    edit(file, of_slurm(TEXT.replace("= 1", '= 1\npartitions_shown = ["moon"]')))
    assert watched.look(present, wrong) is None
    assert "there is no partition moon" in watched.in_force.trouble


def test_a_partition_that_the_cluster_has_since_a_minute_may_be_named(tmp_path, file):
    """The agent looks what there is every few minutes; its operator need not wait for that."""
    from tests.agent.slurm.test_status import Site as Cluster

    cluster = Cluster(tmp_path / "cluster")
    known = cluster.batch.partitions()
    described = cluster.batch.transport.describe()
    (main,) = described.partitions
    more = replace(described, partitions=(main, replace(main, name="moon")))
    nodes = tuple(replace(node, partitions=("main", "moon")) for node in more.nodes)
    cluster.batch.transport.describe = lambda: replace(more, nodes=nodes)
    edit(file, of_slurm(TEXT))
    present, watched = settings.load(file), Watched(file)

    def wrong(new):
        return newly_wrong(cluster.batch, known, present, new)

    edit(file, of_slurm(TEXT.replace("= 1", '= 1\npartitions_shown = ["main", "moon", "sun"]')))
    assert watched.look(present, wrong) is None
    assert "there is no partition sun (there are: main, moon)" in watched.in_force.trouble
    edit(file, of_slurm(TEXT.replace("= 1", '= 1\npartitions_shown = ["main", "moon"]')))
    found = watched.look(present, wrong)
    assert found is not None
    assert found.rules.partitions_shown == ("main", "moon")
