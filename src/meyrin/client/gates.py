"""Gates at the hub, by noun: `client.gates.decide("climate", plan, runs)`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from meyrin.client.admin import Room, path
from meyrin.wire import evaluations as wire


class Gates(Room):
    def trust(self, name: str, public: str, role: str = "site") -> wire.KeyView:
        """Let evidence count that this key has signed. For administrators."""
        said = wire.NewKey(name=name, role=role, public=public)
        return self._post(wire.KeyView, "gates", "keys", said=said, again=True)

    def distrust(self, public: str, *, revoked: bool = False) -> None:
        """Let what it signs from now on count no more; revoked: nor what it has signed."""
        asked = {"revoked": "true"} if revoked else {}
        self._connection.call(
            "DELETE", path("gates", "keys", public), repeatable=True, params=asked
        )

    def keys(self, *, after: str = "", limit: int = 50) -> wire.KeyList:
        return self._get(wire.KeyList, "gates", "keys", after=after, limit=limit)

    def register(self, project: str, signed: dict[str, Any]) -> wire.PlanView:
        """Keep a signed plan; runs that begin from now on can be decided by it."""
        said = wire.NewPlan(project=project, signed=signed)
        return self._post(wire.PlanView, "gates", "plans", said=said, again=True)

    def plans(
        self, project: str | None = None, *, family: str = "", after: str = "", limit: int = 50
    ) -> wire.PlanList:
        asked = {"project": project, "family": family, "after": after, "limit": limit}
        return self._get(wire.PlanList, "gates", "plans", **asked)

    def plan(self, project: str, digest: str) -> wire.PlanView:
        return self._get(wire.PlanView, "gates", "plans", project, digest)

    def bring(self, project: str, bundle: str) -> wire.RunView:
        """Keep the run of a bundle that was uploaded."""
        said = wire.NewRun(project=project, bundle=bundle)
        return self._post(wire.RunView, "gates", "runs", said=said, again=True)

    def runs(
        self, project: str | None = None, *, family: str = "", after: str = "", limit: int = 50
    ) -> wire.RunList:
        asked = {"project": project, "family": family, "after": after, "limit": limit}
        return self._get(wire.RunList, "gates", "runs", **asked)

    def decide(self, project: str, plan: str, runs: Sequence[str]) -> wire.DecisionView:
        """Decide on these runs; the same question again gets the same answer."""
        said = wire.NewDecision(project=project, plan=plan, runs=list(runs))
        return self._post(wire.DecisionView, "gates", "decisions", said=said, again=True)

    def decisions(
        self, project: str | None = None, *, family: str = "", after: str = "", limit: int = 50
    ) -> wire.DecisionList:
        asked = {"project": project, "family": family, "after": after, "limit": limit}
        return self._get(wire.DecisionList, "gates", "decisions", **asked)

    def decision(self, project: str, digest: str) -> wire.DecisionView:
        return self._get(wire.DecisionView, "gates", "decisions", project, digest)
