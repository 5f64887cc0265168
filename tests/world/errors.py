"""How things end in a world: parties die, laws are broken."""

from __future__ import annotations

from typing import Any


class Died(BaseException):
    """This party died here; nothing of what it still wanted to do happens."""

    def __init__(self, party: Any) -> None:
        super().__init__(party)
        self.party = party


class LawBroken(Exception):
    """A law of the house does not hold. `law` is its name."""

    def __init__(self, law: str, words: str) -> None:
        super().__init__(f"{law}: {words}")
        self.law = law
