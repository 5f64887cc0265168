"""What is asked of Slurm beside the job itself: partition, account, QoS, reservation, features."""

from __future__ import annotations

from dataclasses import replace

import httpx2
import pytest
from tests.agent.slurm.test_status import Site

from meyrin.agent import check, main
from meyrin.agent import config as settings
from meyrin.agent.batch import Phase
from meyrin.agent.config import SlurmConfig
from meyrin.agent.slurm import ask
from meyrin.agent.slurm.batch import SlurmBatch
from meyrin.agent.slurm.command import Done
from meyrin.agent.slurm.rest import Rest
from meyrin.agent.slurm.transport import AssociationFacts, QosFacts
from meyrin.domain.job import WarnSignal
from meyrin.testing.slurmrestd import NEW, FakeRestd

TEXT = """
hub = "http://hub.test"
credential_file = "credential"
dir = "state"
batch = "slurm"
"""
MAIN = """
[slurm.partitions.main]
partition = "main"
qos = "urgent"
reservation = "ours"
features = "fast"
"""


@pytest.fixture
def load(tmp_path):
    def loaded(more):
        path = tmp_path / "agent.toml"
        path.write_text(TEXT + more)
        return settings.load(path)

    return loaded


@pytest.fixture
def site(tmp_path):
    made = Site(tmp_path / "site")
    made.batch.partitions()
    return made


def asked(site, name="a"):
    one = site.batch.book.jobs[name].submission
    return one.partition, one.account, one.qos, one.reservation, one.features


SAID = ("main", None, "urgent", "ours", "fast")


def test_what_settings_say_of_a_partition_counts_where_the_cluster_describes_it(site, load):
    site.batch.use(load(MAIN))
    site.submit()
    assert asked(site) == SAID
    (gpu,) = site.batch.places().values()
    assert gpu.gres == "gpu:h100", "what they do not say stays as the cluster has it"
    site.batch.use(load(""))
    site.submit("b")
    assert asked(site, "b") == ("main", None, None, None, None)


def test_it_counts_from_the_start_on_and_after_the_next_look(site, load):
    made = main.slurm(load(MAIN), site.batch.transport)
    for _ in range(2):
        assert [part.name for part in made.partitions()] == ["main"]
        assert made.places()["main"].qos == "urgent"
    made.leave()


def test_a_cluster_that_shows_no_partition_has_none(site, load, monkeypatch):
    bare = replace(facts_of(site), partitions=(), nodes=())
    seen = []
    monkeypatch.setattr(site.batch.transport, "describe", lambda: seen.append(1) or bare)
    made = main.slurm(load(""), site.batch.transport)
    assert made.partitions() == ()
    assert made.places() == {}
    assert len(seen) == 1
    made.leave()


def facts_of(site, **other):
    described = site.batch.transport.describe()
    known = {
        "accounting": True,
        "enforces_qos": True,
        "qos": (QosFacts("normal"), QosFacts("urgent")),
        "associations": (
            AssociationFacts("astro", qos=("normal",)),
            AssociationFacts("geo", qos=("normal", "urgent")),
        ),
    }
    return replace(described, **(known | other))


def found(config, facts):
    parts = [place.partition for place in ask.all_of(config, facts).values()]
    return [each for each in check.site_findings(config, parts, facts) if "slurm." in each.words]


def test_a_section_for_no_partition_of_ours_is_wrong(site, load):
    config = load(MAIN.replace("partitions.main", "partitions.moon"))
    (one,) = found(config, facts_of(site))
    assert one.bad
    assert one.words == "slurm.partitions.moon: there is no partition moon of ours"
    assert one.hint == "there are: main"


@pytest.mark.parametrize(
    ("accounts", "refused"),
    [
        ('accounts = { lab = "geo" }', []),
        ('default_account = "geo"', []),
        ('default_account = "astro"', ["astro"]),
        ('accounts = { lab = "astro", uni = "geo" }', ["astro"]),
        ("", []),
    ],
)
def test_a_qos_that_an_account_may_not_use_is_wrong(site, load, accounts, refused):
    config = load(f"[slurm]\n{accounts}\n{MAIN}")
    words = [f"slurm.partitions.main: mtb1 may not use QoS urgent with account {a}"
             for a in refused]  # fmt: skip
    bad = found(config, facts_of(site))
    assert [each.words for each in bad] == words
    assert all(each.bad and "it may use: normal; or ask" in each.hint for each in bad)
    assert not any(each.bad for each in found(config, facts_of(site, enforces_qos=None)))
    assert found(config, facts_of(site, enforces_qos=False)) == []


def test_a_qos_that_no_account_may_use_is_wrong_where_none_is_named(site, load):
    few = (
        AssociationFacts("astro", qos=("normal",)),
        AssociationFacts("geo", "other", ("urgent",)),
    )
    (one,) = found(load(MAIN), facts_of(site, associations=few))
    assert one.words.endswith("may not use QoS urgent with account astro")


NOT_THIS_ACCOUNT = "Invalid account or account/partition combination specified"
GEO = '[slurm]\ndefault_account = "geo"\n'


def refuses(site, word, words):
    """Slurm refuses what is asked with this option."""
    obey = site.commands._obey

    def either(name, options, *more):
        if name == "sbatch" and word in options:
            return Done(1, "", f"sbatch: error: Batch job submission failed: {words}")
        return obey(name, options, *more)

    site.commands._obey = either


def held_for_its_account(site, load):
    refuses(site, "--account=astro", NOT_THIS_ACCOUNT)
    site.batch.use(load(GEO.replace("geo", "astro")))
    site.submit()
    site.pass_s(4)
    assert site.seen().phase is Phase.HELD


def test_what_slurm_refused_is_asked_by_mended_settings_at_once(site, load):
    held_for_its_account(site, load)
    assert site.seen().why.startswith("the site's Slurm refuses the account that its jobs are")
    told = site.batch.refusals()
    assert told.startswith("its Slurm refuses account astro (Slurm: ")
    assert f"{NOT_THIS_ACCOUNT}): mend it there, or name another under [slurm]" in told
    site.batch.use(load(GEO + MAIN))
    site.pass_s(2)
    assert site.seen().phase is Phase.QUEUED
    assert asked(site) == ("main", "geo", *SAID[2:])
    assert site.batch.refusals() == ""
    assert [job.name for job in site.cluster.jobs] == ["meyrin-a"]


def test_what_slurm_refused_is_asked_by_mended_settings_after_a_new_start(site, load):
    held_for_its_account(site, load)
    site.batch.store.close()
    site.batch = site.open()
    site.batch.use(load(GEO))
    assert asked(site)[1] == "astro", "it is looked for first"
    site.pass_s(10)
    assert (site.seen().phase, asked(site)[1]) == (Phase.QUEUED, "geo")
    assert [job.name for job in site.cluster.jobs] == ["meyrin-a"]


@pytest.mark.parametrize("taken", [True, False])
def test_what_is_in_doubt_stays_as_it_was_asked_until_it_was_looked_for(site, load, taken):
    kind = "silent" if taken else "lost"
    setattr(site.faults, kind, 1.0)
    site.batch.use(load(GEO.replace("geo", "astro")))
    site.submit()
    setattr(site.faults, kind, 0.0)
    site.batch.use(load(GEO))
    assert asked(site)[1] == "astro"
    site.pass_s(120)
    assert site.seen().phase is Phase.QUEUED
    assert asked(site)[1] == ("astro" if taken else "geo")
    assert [job.name for job in site.cluster.jobs] == ["meyrin-a"]


def test_a_refusal_that_comes_while_settings_change_is_not_held_against_the_new_ones(site, load):
    refuses(site, "--account=astro", NOT_THIS_ACCOUNT)
    obey = site.commands._obey

    def meanwhile(name, *more):
        if name == "sbatch":
            site.batch.use(load(GEO))
        return obey(name, *more)

    site.batch.use(load(GEO.replace("geo", "astro")))
    site.commands._obey = meanwhile
    site.submit()
    assert site.seen().phase is Phase.HELD
    site.pass_s(2)
    assert (site.seen().phase, asked(site)[1]) == (Phase.QUEUED, "geo")


def test_what_an_earlier_version_noted_is_asked_as_it_was(site, load):
    held_for_its_account(site, load)
    site.batch.book.jobs["a"].place = ""
    site.batch.use(load(GEO))
    assert asked(site)[1] == "astro"


def test_a_refusal_for_the_partition_is_told_once_and_one_for_the_qos_is_none(site):
    refuses(site, "--partition=main", "Invalid qos specification")
    site.submit()
    assert "refuses the QoS that" in site.seen().why
    assert "refuses QoS of its own choice (Slurm" in site.batch.refusals()
    assert not site.batch.partition_refused()
    refuses(site, "--partition=main", "Required partition not available (inactive or drain)")
    site.pass_s(40)
    assert site.batch.partition_refused()
    assert not site.batch.partition_refused()
    assert site.batch.refusals() == "", "a partition that is closed is told with its nodes"


def test_a_token_that_is_mended_is_asked_by_at_once(tmp_path):
    """Whoever is not known was not heard: there is nothing to look for."""
    made, token = Site(tmp_path / "site"), tmp_path / "token"
    token.write_text("old")
    token.chmod(0o600)
    restd = FakeRestd(made.cluster, made.faults, NEW)

    def serve(request):
        if request.headers["X-SLURM-USER-TOKEN"] == "good":
            return restd(request)
        error = {"error_number": 1007, "error": "Protocol authentication error"}
        return httpx2.Response(500, json={"errors": [error]})

    config = SlurmConfig(rest_url="http://s:1", rest_version=NEW, rest_token_file=token)
    by = Rest(config, made.cluster.user, made.clock, httpx2.MockTransport(serve))
    token.write_text("good")
    made.batch = SlurmBatch(tmp_path / "rest", by, clock_s=made.clock, doubt_s=3600, at_once=1)
    made.batch.partitions()
    token.write_text("old")
    made.submit()
    made.pass_s(20)
    assert (made.seen().phase, made.seen().why) == (Phase.HELD, "the site's Slurm does not answer")
    token.write_text("good")
    made.pass_s(4)
    assert made.seen().phase is Phase.QUEUED
    assert [job.name for job in made.cluster.jobs] == ["meyrin-a"]


@pytest.mark.parametrize(
    ("walltime_s", "before_s", "asked_s"), [(600, 20, 20), (90, 20, 50), (61, 65_500, 65_535)]
)
def test_a_warning_is_counted_back_from_the_wall_time_itself(site, walltime_s, before_s, asked_s):
    """Slurm counts it from the end of the last whole minute."""
    warned = WarnSignal("USR1", before_s, shell_only=True)
    site.submit("a", walltime_s=walltime_s, warn_signal=warned)
    assert site.batch.book.jobs["a"].submission.signal == replace(warned, before_s=asked_s)
