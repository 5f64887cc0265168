"""The form of an ask: what each field may hold, and the words for what it may not.

Its fields are those that an unsent ask keeps (`calls.unsent.FIELDS`); they are named nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from meyrin.domain.errors import InvalidInput
from meyrin.domain.units import Unit
from meyrin.hub.calls import proposals, unsent
from meyrin.hub.calls.modes.file import KINDS, PURPOSES
from meyrin.hub.identity.labels import check_label
from meyrin.hub.reports import show

# as the form calls them
WORDS = {
    "title": "what it is about",
    "amount_h": "hours",
    "charged_type": "what the hours are of",
    "kind": "what you are",
    "purpose": "what it is for",
}
DEFAULTS = dict.fromkeys(unsent.FIELDS, "") | {"kind": "academic", "purpose": "try", "months": "3"}
_NUMBERS = {"amount_h": 10**10, "months": 60}  # the most
# digits, in threes where they are parted: what 1,5 or 1 0 means is not guessed
_WHOLE = re.compile(r"[0-9]+|[0-9]{1,3}(?:([,'\u2019 \u00a0\u202f])[0-9]{3})(?:\1[0-9]{3})*")


def said(typed: Mapping[str, Any]) -> dict[str, str]:
    """The fields as they were typed or chosen, without spaces around; what is missing is ""."""
    found = {name: typed.get(name, "") for name in unsent.FIELDS}
    return {name: text.strip() if isinstance(text, str) else "" for name, text in found.items()}


def wanted(key: str, typed: Mapping[str, str], *, titled: bool = True) -> proposals.Ask:
    """The ask that was written; with `titled` it needs a title. InvalidInput names the field,
    what was given and what may be."""
    for name in (each for each in typed if each not in _NUMBERS):
        if typed[name] or (titled and name == "title"):
            try:
                check_label(name, typed[name])
            except InvalidInput as error:
                raise _wrong(name, typed[name], error.hint) from None
    amount_h = _number("amount_h", typed)
    if not typed["charged_type"]:
        raise _wrong("charged_type", "", "choose one of the types that sites lend")
    months = _number("months", typed)
    for name, choices in (("kind", KINDS), ("purpose", PURPOSES)):
        if typed[name] not in choices:
            raise _wrong(name, typed[name], f"choose one of {', '.join(choices)}")
    return proposals.Ask(
        key=key,
        project=typed["project"],
        title=typed["title"],
        kind=typed["kind"],
        purpose=typed["purpose"],
        amount_h=amount_h,
        unit=Unit.ACCELERATOR,
        months=months,
        charged_type=typed["charged_type"],
        mode=typed["mode"] or None,
    )


def _number(name: str, typed: Mapping[str, str]) -> int:
    text, most = typed[name], _NUMBERS[name]
    if len(text) <= unsent.MOST_CHARACTERS and _WHOLE.fullmatch(text):
        number = int(re.sub(r"[^0-9]", "", text))
        if 1 <= number <= most:
            return number
    allowed = f"write a whole number from 1 to {most:,}, in the digits 0 to 9"
    raise _wrong(name, text, allowed)


def _wrong(name: str, text: str, allowed: str) -> InvalidInput:
    named = WORDS.get(name, name)
    return InvalidInput(f"{named} can't be {show.typed(text)}", hint=allowed, field=name)
