"""Owners' statements: `client.owners.statement("2026-10")`."""

from __future__ import annotations

from meyrin.client.admin import Room
from meyrin.wire import owners


class Owners(Room):
    def months(self, *, after: str = "", limit: int = 50) -> owners.MonthList:
        """The months that have a statement, newest first."""
        return self._get(owners.MonthList, "owners", "months", after=after, limit=limit)

    def statement(self, month: str) -> owners.OwnersStatement:
        """What every owner was entitled to in a month (`YYYY-MM`), and what was delivered."""
        return self._get(owners.OwnersStatement, "owners", "months", month)

    def publish(self, month: str) -> owners.MonthView:
        """Show a frozen month to everybody; it never changes after."""
        return self._post(owners.MonthView, "owners", "months", month, "publish", again=True)

    def comments(self, month: str, *, after: str = "", limit: int = 50) -> owners.CommentList:
        where = ("owners", "months", month, "comments")
        return self._get(owners.CommentList, *where, after=after, limit=limit)

    def comment(self, month: str, said: owners.NewComment) -> owners.CommentView:
        """Say something for an owner; its key makes it one comment however often it is sent."""
        where = ("owners", "months", month, "comments")
        return self._post(owners.CommentView, *where, said=said, again=True)

    def year(self, year: int) -> owners.YearView:
        """The return coefficients of a year."""
        return self._get(owners.YearView, "owners", "return", year=year)

    def speakers(self, *, after: str = "", limit: int = 50) -> owners.SpeakerList:
        """Who may comment for which owner."""
        return self._get(owners.SpeakerList, "owners", "speakers", after=after, limit=limit)

    def speak(self, owner: str, person: str) -> None:
        """Let a person comment for an owner."""
        said = owners.SpeakerBody(owner=owner, person=person)
        self._send("POST", "owners", "speakers", said=said, again=True)

    def be_silent(self, owner: str, person: str) -> None:
        self._send("DELETE", "owners", "speakers", owner, person)
