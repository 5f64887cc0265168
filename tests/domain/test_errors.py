from __future__ import annotations

import re
from pathlib import Path

from meyrin.domain import errors
from meyrin.domain.errors import Failed, MeyrinError, Refused
from meyrin.domain.refusal import PASSING, Reason, Refusal


def tree(kind):
    yield kind
    for below in kind.__subclasses__():
        if below.__module__ == errors.__name__:
            yield from tree(below)


def line_of(kind):
    bases = [k.__name__ for k in kind.__mro__ if issubclass(k, MeyrinError)]
    return f"{kind.code:<20}{'yes' if kind.retry else 'no':<7}{' > '.join(bases)}"


def test_codes_and_tree_are_stable():
    golden = Path(__file__).with_name("errors.txt").read_text().splitlines()[1:]
    assert [line_of(kind) for kind in tree(MeyrinError)] == golden


def test_codes_are_unique():
    # the base is never raised itself and shares the code of Failed, the rest
    codes = [kind.code for kind in tree(MeyrinError) if kind is not MeyrinError]
    assert len(codes) == len(set(codes))
    assert MeyrinError.code == Failed.code
    assert all(re.fullmatch(r"[a-z_]+", code) for code in codes)


def test_the_tree_is_drawn_at_the_top():
    drawn = re.findall(r"^ {4}[ │├└─]*([A-Z]\w+)", errors.__doc__ or "", re.MULTILINE)
    assert drawn == [kind.__name__ for kind in tree(MeyrinError)]


def test_an_error_carries_hint_and_facts():
    error = errors.BadDirective("--foo is unknown", hint="leave it out", option="--foo", line=3)
    assert (str(error), error.hint) == ("--foo is unknown", "leave it out")
    assert error.facts == {"option": "--foo", "line": 3}
    refusal = Refusal(Reason.BUSY, "alpha", "gpu", 2, 1)
    assert Refused("busy", refusals=(refusal,), hint="wait").refusals == (refusal,)


def test_reasons_either_pass_or_last():
    assert Refusal(Reason.BUSY).passing
    assert not Refusal(Reason.WALLTIME).passing
    assert {reason for reason in Reason if Refusal(reason).passing} == PASSING
    order = list(Reason)
    assert min(order.index(reason) for reason in PASSING) > order.index(Reason.BALANCE)
