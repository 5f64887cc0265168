"""Facts: one root whatever the order, one file, and no comparison of what differs."""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meyrin.domain.errors import Conflict, InvalidInput
from meyrin.suites import facts
from meyrin.suites.facts import Facts, Fingerprints, Isolation, RunFacts, SampleFact

HEX = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("w", "d", "e")}
RUN = RunFacts(
    "capability", "1.0", 7, "tiny", Fingerprints(HEX["w"], HEX["d"], HEX["e"], "inspect 1"),
    2, 1000, 2000, True, "alpha", Isolation(2, "bubblewrap 0.8.0", ("dns",), ()),
)  # fmt: skip

samples = st.builds(
    SampleFact,
    id=st.text(max_size=8),
    epoch=st.integers(1, 5),
    task=st.just("t"),
    cluster=st.text(max_size=3),
    input=st.text(max_size=20),
    target=st.text(max_size=5),
    output=st.text(max_size=20),
    scores=st.dictionaries(
        st.text(max_size=4), st.none() | st.floats(allow_nan=False, allow_infinity=False)
    ).map(lambda told: tuple(sorted(told.items()))),
    error=st.sampled_from(["", "ValueError"]),
)
unique = st.lists(samples, max_size=20, unique_by=lambda s: (s.id, s.epoch))


def plain_root(made: list[SampleFact]) -> str:
    """The slow twin: RFC 6962's own recursive definition."""

    def tree(leaves: list[bytes]) -> bytes:
        if not leaves:
            return hashlib.sha256(b"").digest()
        if len(leaves) == 1:
            return hashlib.sha256(b"\0" + leaves[0]).digest()
        cut = 1
        while cut * 2 < len(leaves):
            cut *= 2
        return hashlib.sha256(b"\1" + tree(leaves[:cut]) + tree(leaves[cut:])).digest()

    ordered = sorted(made, key=lambda s: (s.id.encode(), s.epoch))
    return tree([facts.sample_line(s) for s in ordered]).hex()


@given(unique, st.randoms(use_true_random=False))
def test_the_root_is_of_the_samples_not_of_their_order(
    made: list[SampleFact], chance: random.Random
) -> None:
    shuffled = made[:]
    chance.shuffle(shuffled)
    assert facts.root(shuffled) == facts.root(made) == plain_root(made)


@given(unique)
def test_a_file_reads_back_and_every_line_after_the_first_is_a_leaf(
    made: list[SampleFact],
) -> None:
    raw = facts.dump(Facts(RUN, tuple(made)))
    back = facts.parse(raw)
    assert back.run == RUN
    assert back.root == facts.root(made)
    assert facts.dump(back) == raw
    lines = raw.split(b"\n")[1:-1]
    assert lines == [facts.sample_line(sample) for sample in back.samples]


def a_sample(**told: object) -> SampleFact:
    return replace(SampleFact("a", 1, "t", "c", "in", "yes", "yes", (("right", 1.0),)), **told)


def test_the_line_is_as_documented_byte_for_byte() -> None:
    line = facts.sample_line(a_sample(input='é"\n\x01', scores=(("b", None), ("a", -0.0))))
    told = r'{"cluster":"c","epoch":1,"error":"","id":"a","input":"é\"\n\u0001","output":"yes",'
    told += r'"scores":{"a":0.0,"b":null},"target":"yes","task":"t"}'
    assert line.decode() == told


@pytest.mark.parametrize(
    "change",
    [
        {"output": "no"}, {"scores": (("right", 0.0),)}, {"scores": (("right", None),)},
        {"cluster": "d"}, {"error": "ValueError"}, {"epoch": 2},
    ],
)  # fmt: skip
def test_every_fact_is_in_the_root(change: dict[str, object]) -> None:
    assert facts.root([a_sample()]) != facts.root([a_sample(**change)])


def test_a_sample_that_is_there_twice_counts_once_and_must_agree() -> None:
    assert facts.root([a_sample(), a_sample()]) == facts.root([a_sample()])
    with pytest.raises(Conflict):
        facts.root([a_sample(), a_sample(output="no")])


@pytest.mark.parametrize("times", [{"started_ms": 2**60}, {"ended_ms": 2**60}, {"ended_ms": -1}])
def test_times_that_no_calendar_has_are_no_facts(times: dict[str, int]) -> None:
    """Whoever signs or shows them would have to write them as a date."""
    raw = facts.dump(Facts(replace(RUN, **times), ()))
    with pytest.raises(InvalidInput, match="in no calendar"):
        facts.parse(raw)


def test_any_changed_byte_of_the_file_is_found() -> None:
    raw = bytearray(facts.dump(Facts(RUN, (a_sample(), a_sample(id="b")))))
    chance = random.Random(5)
    start = raw.index(b"\n")  # the run's own line is held by the signature, not by the root
    for at in chance.sample(range(start, len(raw)), 200):
        changed = bytearray(raw)
        changed[at] ^= 1 << chance.randrange(8)
        with pytest.raises(InvalidInput):
            facts.parse(bytes(changed))


@pytest.mark.parametrize("raw", [b"", b"\n", b"{}\n", b"[]\n", b'{"facts":1}\n', b"\xff\n", b"x"])
def test_what_is_no_facts_file_is_refused_in_words(raw: bytes) -> None:
    with pytest.raises(InvalidInput, match="can't be relied on"):
        facts.parse(raw)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_is_no_score(value: float) -> None:
    with pytest.raises(InvalidInput):
        facts.sample_line(a_sample(scores=(("right", value),)))


def test_the_file_is_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "facts.jsonl"
    facts.save(Facts(RUN, (a_sample(),)), path)
    assert facts.load(path).samples == (a_sample(),)
    assert json.loads(path.read_bytes().split(b"\n")[0])["samples"] == 1
    assert [each.name for each in tmp_path.iterdir()] == ["facts.jsonl"]


def with_print(**told: object) -> RunFacts:
    return replace(RUN, fingerprints=replace(RUN.fingerprints, **told))


@pytest.mark.parametrize("name", ["data", "environment", "engine", "plan"])
def test_runs_that_differ_in_a_fingerprint_are_not_compared(name: str) -> None:
    with pytest.raises(Conflict, match=name):
        facts.check_comparable(RUN, with_print(**{name: HEX["w"]}))


@pytest.mark.parametrize("name", ["suite", "version", "seed"])
def test_nor_are_runs_of_another_suite_or_seed(name: str) -> None:
    other = replace(RUN, **{name: 8 if name == "seed" else "other"})
    with pytest.raises(Conflict, match=name):
        facts.check_comparable(RUN, other)


def test_two_models_are_compared_and_one_model_with_itself() -> None:
    other = with_print(weights=HEX["e"])
    facts.check_comparable(RUN, other)
    facts.check_comparable(RUN, replace(RUN, site="beta", started_ms=5), apart=())
    with pytest.raises(Conflict, match="weights"):
        facts.check_comparable(RUN, other, apart=())


def test_what_nobody_measured_is_not_compared() -> None:
    unmeasured = with_print(weights="unknown")
    with pytest.raises(Conflict, match="nobody measured"):
        facts.check_comparable(unmeasured, unmeasured, apart=())
