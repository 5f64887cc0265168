"""Files of awards: exact hours, every wrong row named, and back as they were."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meyrin.client.award_file import COLUMNS, as_columns, read_awards, write_csv
from meyrin.domain.errors import InvalidInput
from meyrin.wire.allocations import AwardRow

HEAD = "award,project,charged_type,amount_h,start,end,reason\n"


def read(text, mapping=None, **fixed):
    return read_awards(text, "a.csv", mapping or {}, fixed)


def test_an_apostrophe_of_its_own_stays():
    head = HEAD.replace("reason", "reason,title")
    (one,) = read(f"{head}A,p,core,1,2027-01-01,2027-02-01,'=1+1,'t Hooft group\n")
    assert (one.row.reason, one.row.title) == ("=1+1", "'t Hooft group")


def test_hours_are_exact_and_days_are_their_first_second():
    (one, two) = read(
        f'{HEAD}E-1,climate,h100,0.25,2027-01-01,2027-02-01,"spring, late"\n'
        "E-2,climate,core,1250,2027-01-01T10:00:00Z,2027-02-01,x\n"
    )
    assert (one.line, one.row.amount_s, one.row.reason) == (2, 900, "spring, late")
    assert (one.row.start_s, two.row.start_s) == (1_798_761_600, 1_798_797_600)
    assert two.row.amount_s == 4_500_000


def test_what_a_file_calls_otherwise_is_mapped_and_what_it_lacks_is_set():
    text = "Number,Project,GpuHours,PI\nE-1,climate,2,Dr Who\n"
    mapping = {"award": "Number", "project": "Project", "amount_h": "GpuHours"}
    fixed = {"charged_type": "h100", "start": "2027-01-01", "end": "2028-01-01", "reason": "r"}
    (one,) = read(text, mapping, owner="union", **fixed)
    assert (one.row.amount_s, one.row.owner, one.row.award) == (7200, "union", "E-1")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("E,climate,h100,1.00001,2027-01-01,2028-01-01,r", "no whole number of seconds"),
        ("E,climate,h100,1e3,2027-01-01,2028-01-01,r", "amount_h is '1e3'"),
        ("E,climate,h100,-1,2027-01-01,2028-01-01,r", "amount_h is"),
        ("E,climate,h100,1,2027-13-01,2028-01-01,r", "start is '2027-13-01'"),
        ("E,climate,h100,1,2027-01-01,soon,r", "end is 'soon'"),
        ("E,climate,h100,1,2027-01-01,2028-01-01,", "reason is missing"),
        ("E,Climate!,h100,1,2027-01-01,2028-01-01,r", "project can't be called 'Climate!'"),
        ("E,climate,h100,1,2027-01-01,2028-01-01", "6 values under 7 columns"),
        ("E,climate,h100,,2027-01-01,2028-01-01,r", "how much?"),
    ],
)
def test_a_wrong_row_is_named_with_its_line(row, words):
    with pytest.raises(InvalidInput) as no:
        read(f"{HEAD}{row}\n")
    assert no.value.message.startswith("a.csv:2: ")
    assert words in no.value.message


def test_every_wrong_row_is_named():
    bad = "E,climate,h100,x,2027-01-01,2028-01-01,r\n"
    with pytest.raises(InvalidInput) as no:
        read(HEAD + bad * 40)
    assert no.value.message.count("\n") == 30
    assert no.value.message.endswith("and 10 more")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no rows"),
        (HEAD, "no rows"),
        ("award,award\na,b\n", "twice"),
        (HEAD.replace("reason", "cause") + "E,c,h,1,2027-01-01,2028-01-01,r\n", "'cause' is no"),
        ("{", "no JSON"),
        ('{"rows": []}', "no list of awards"),
        ("[1]", "no list of awards"),
    ],
)
def test_a_file_that_is_none(text, words):
    with pytest.raises(InvalidInput, match=words):
        read(text)
    with pytest.raises(InvalidInput, match="is no column"):
        read(HEAD, {"colour": "x"})


words = st.text(st.characters(blacklist_categories=("C", "Z")), min_size=1, max_size=20)
rows = st.builds(
    AwardRow,
    award=words,
    project=st.just("climate"),
    charged_type=words,
    amount_s=st.integers(0, 10**15),
    start_s=st.integers(0, 2**37),
    end_s=st.integers(0, 2**37),
    reason=words | st.sampled_from(["=1+1", "'quoted'", "a,b", "'=x", "-"]),
    mode=st.sampled_from(["", "starter"]),
    title=words,
    promised_s=st.integers(0, 5),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(rows, min_size=1, max_size=5))
def test_there_and_back_again(some):
    assert [each.row for each in read(write_csv(some))] == some
    text = json.dumps({"awards": [as_columns(row) for row in some]})
    assert [each.row for each in read(text)] == some
    assert write_csv(some).splitlines()[0] == ",".join(COLUMNS)
