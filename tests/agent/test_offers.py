"""What a site's file proposes to lend, beside what is lent."""

from __future__ import annotations

from dataclasses import replace

import pytest
import structlog
from tests.agent.slurm.test_status import Site as Cluster

from meyrin.agent import check, offers
from meyrin.agent import config as settings
from meyrin.domain.errors import InvalidInput, Unreachable
from meyrin.domain.site import OwnerShare, Partition
from meyrin.wire.agents import LentOffer, SelfReply

HEAD = """hub = "http://127.0.0.1:1"
credential_file = "credential"
dir = "state"
batch = "slurm"
"""
OFFER = """
[[offer]]
partition = "gpu"
owners = { uni = 3 }
until = 2900-01-01
"""
NOW_MS, UNTIL_S = 1_800_000_000_000, 29_348_006_400
LENT = LentOffer(
    id="off_1",
    partition="gpu",
    owners=[OwnerShare("uni", 3)],
    start_s=1_700_000_000,
    end_s=UNTIL_S,
)


def load(tmp_path, text):
    file = tmp_path / "agent.toml"
    file.write_text(HEAD + text)
    return settings.load(file)


def reply(*lent):
    return SelfReply(
        site="alps",
        title="Alps",
        now_ms=NOW_MS,
        incarnation="",
        answers=True,
        drained=None,
        lent=[],
        offers=list(lent),
    )


def told(tmp_path, text, *lent):
    return list(offers.differences(load(tmp_path, text).offer, reply(*lent)))


def test_what_is_lent_as_proposed_is_not_told(tmp_path):
    assert told(tmp_path, OFFER, LENT) == []
    begun = OFFER + "start = 2020-01-01\n"
    assert told(tmp_path, begun, LENT) == []
    assert list(offers.differences((), reply().model_copy(update={"offers": None}))) == []


@pytest.mark.parametrize(
    "edit",
    [
        ("uni = 3", "uni = 4"),
        ("uni = 3", "uni = 3, state = 1"),
        ("2900-01-01", "2901-01-01"),
        ("until = 2900-01-01", ""),
        ("until", "start = 2899-01-01\nuntil"),
    ],
)
def test_an_edit_is_told_with_the_commands_that_would_lend_it(tmp_path, edit):
    ((words, way_out),) = told(tmp_path, OFFER.replace(*edit), LENT)
    assert words.startswith("[[offer]] of gpu (")
    assert "differs from what is lent: uni = 3, until 2900-01-01, offer off_1" in words
    assert "meyrin site end-offer alps off_1; meyrin site offer alps gpu --owner " in way_out


def test_what_is_proposed_and_not_lent_and_the_other_way_round(tmp_path):
    ((words, way_out),) = told(tmp_path, OFFER)
    assert words == "[[offer]] of gpu (uni = 3, until 2900-01-01) is not lent"
    assert way_out.endswith("meyrin site offer alps gpu --owner uni=3 --until 2900-01-01")
    ((words, way_out),) = told(tmp_path, "", replace_end(LENT, None))
    assert words == "no [[offer]] proposes gpu, and it is lent: uni = 3, on and on, offer off_1"
    assert way_out.endswith("meyrin site end-offer alps off_1")


def replace_end(one, end_s):
    return one.model_copy(update={"end_s": end_s})


def test_what_stands_as_another_says_is_not_to_be_ended(tmp_path):
    """One [[offer]] after another of the same partition: the later is not lent yet."""
    later = '[[offer]]\npartition = "gpu"\nowners = { lab = 1 }\nstart = 2900-01-01\n'
    ((words, way_out),) = told(tmp_path, OFFER + later, LENT)
    assert words.endswith("is not lent")
    assert way_out == (
        "ask the hub's administrator: meyrin site offer alps gpu --owner lab=1 --from 2900-01-01"
    )


def test_the_log_says_it_too_and_a_hub_that_is_away_is_no_matter(tmp_path):
    proposed = load(tmp_path, OFFER).offer

    def away():
        raise Unreachable("the hub does not answer")

    with structlog.testing.capture_logs() as lines:
        offers.tell(away, proposed)
        offers.tell(reply, proposed)
    (line,) = lines
    assert (line["event"], line["log_level"]) == ("agent.offer_differs", "warning")


def test_two_for_one_partition_and_time_are_refused_by_line(tmp_path):
    with pytest.raises(InvalidInput) as error:
        load(tmp_path, OFFER + OFFER.replace("uni", "mine"))
    assert "agent.toml, line 12: offer.1.partition: gpu is proposed" in error.value.message
    assert "in line 7" in error.value.message
    load(tmp_path, OFFER + OFFER.replace("until = 2900", "start = 2900-01-01\nuntil = 2901"))
    load(tmp_path, OFFER + OFFER.replace("gpu", "cpu"))


def test_an_end_that_is_over_is_wrong(tmp_path):
    found = check.bad(
        check.site_findings(
            load(tmp_path, OFFER.replace("2900", "2020")), [Partition("gpu", 1, 1, 1000)], None
        )
    )
    assert list(found) == ["[[offer]] of gpu: until = 2020-01-01 is over"]


def test_two_offers_with_the_same_nodes_are_noted(tmp_path):
    facts = Cluster(tmp_path / "cluster").batch.transport.describe()
    (main,) = facts.partitions
    both = tuple(replace(node, partitions=("main", "long")) for node in facts.nodes)
    facts = replace(facts, partitions=(main, replace(main, name="long")), nodes=both)
    parts = [Partition(name, 1, 1, 1000) for name in ("main", "long")]
    text = OFFER.replace("gpu", "main")
    two = text + OFFER.replace("gpu", "long")

    def shared(text):
        found = check.site_findings(load(tmp_path, text), parts, facts)
        return [one for one in found if "nodes in common" in one.words]

    (note,) = shared(two)
    assert "main and long" in note.words
    assert not note.bad
    assert shared(text) == []
    by_hand = '[slurm.partitions]\nmain = { partition = "main", features = "a" }\n'
    assert shared(two + by_hand) == []
