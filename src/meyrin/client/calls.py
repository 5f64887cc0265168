"""Asks for hours: `client.calls.ask(NewAsk(...))`."""

from __future__ import annotations

from meyrin.client.admin import Room
from meyrin.wire import calls


class Calls(Room):
    def ask(self, wanted: calls.NewAsk) -> calls.ProposalView:
        """Ask for hours; its key makes it one ask however often it is sent."""
        return self._post(calls.ProposalView, "proposals", said=wanted, again=True)

    def list(
        self, state: str = "", *, everybody: bool = False, after: str = "", limit: int = 50
    ) -> calls.ProposalList:
        """Your asks, or everybody's for an officer."""
        where = ("proposals", "all") if everybody else ("proposals",)
        return self._get(calls.ProposalList, *where, state=state, after=after, limit=limit)

    def show(self, proposal: str) -> calls.ProposalView:
        return self._get(calls.ProposalView, "proposals", proposal)

    def decide(
        self,
        proposal: str,
        reason: str,
        *,
        grant: bool,
        amount_s: int | None = None,
        reviewer: str = "",
    ) -> calls.ProposalView:
        said = calls.Decision(grant=grant, reason=reason, amount_s=amount_s, reviewer=reviewer)
        where = ("proposals", proposal, "decide")
        return self._post(calls.ProposalView, *where, said=said, again=True)

    def withdraw(self, proposal: str) -> calls.ProposalView:
        return self._post(calls.ProposalView, "proposals", proposal, "withdraw", again=True)

    def stop_clock(self, proposal: str, reason: str) -> calls.ProposalView:
        said = calls.ClockStop(reason=reason)
        where = ("proposals", proposal, "stop-clock")
        return self._post(calls.ProposalView, *where, said=said, again=True)

    def start_clock(self, proposal: str) -> calls.ProposalView:
        return self._post(calls.ProposalView, "proposals", proposal, "start-clock", again=True)

    def route(
        self, kind: str, purpose: str, amount_h: int, months: int, charged_type: str, **more: str
    ) -> calls.RouteView:
        """The mode and the sites that an ask would lead to; `more`: unit, project."""
        return self._get(
            calls.RouteView, "route", kind=kind, purpose=purpose, amount_h=amount_h, months=months,
            charged_type=charged_type, **more,
        )  # fmt: skip

    def modes(self) -> calls.ModesView:
        """The ways to get hours at this hub."""
        return self._get(calls.ModesView, "modes")

    def clocks(self) -> calls.ClocksView:
        """How long asks really took, by mode."""
        return self._get(calls.ClocksView, "clocks")

    def unsent(self, *, after: str = "", limit: int = 50) -> calls.UnsentList:
        """Asks that you began to write in the pages and have not sent yet."""
        return self._get(calls.UnsentList, "unsent", after=after, limit=limit)

    def discard(self, key: str) -> None:
        self._send("DELETE", "unsent", key, again=True)
