"""What becomes of allocations: `client.allocations.change(...)`."""

from __future__ import annotations

from meyrin.client.admin import Room
from meyrin.wire import allocations


class Allocations(Room):
    def change(self, allocation: str, wanted: allocations.NewChange) -> allocations.ChangeView:
        """Move hours, extend, pause or resume; its key makes it one change."""
        where = ("allocations", allocation, "changes")
        return self._post(allocations.ChangeView, *where, said=wanted, again=True)

    def changes(
        self, project: str | None = None, state: str = "", *, after: str = "", limit: int = 50
    ) -> allocations.ChangeList:
        """What was asked and done with the allocations of your projects."""
        asked = {"project": project, "state": state, "after": after, "limit": limit}
        return self._get(allocations.ChangeList, "changes", **asked)

    def decide(self, change: str, reason: str, *, grant: bool) -> allocations.ChangeView:
        said = allocations.ChangeDecision(grant=grant, reason=reason)
        return self._post(
            allocations.ChangeView, "changes", change, "decide", said=said, again=True
        )

    def pace(
        self, project: str | None = None, *, after: str = "", limit: int = 50
    ) -> allocations.PaceList:
        """Allocations with their pace, and when their hours are used up if it goes on so."""
        return self._get(allocations.PaceList, "pace", project=project, after=after, limit=limit)

    def off_pace(self, *, after: str = "", limit: int = 50) -> allocations.PaceList:
        """Everybody's of which too little or too much is used, for officers."""
        return self._get(allocations.PaceList, "pace", "off", after=after, limit=limit)

    def notices(self, *, after: str = "", limit: int = 50) -> allocations.NoticeList:
        """What you have not put away yet."""
        return self._get(allocations.NoticeList, "notices", after=after, limit=limit)

    def put_away(self, notice: int) -> None:
        self._send("POST", "notices", str(notice), "seen", again=True)

    def reclaims(
        self, project: str | None = None, *, after: str = "", limit: int = 50
    ) -> allocations.ReclaimList:
        """What idle hours would go back by rule."""
        return self._get(
            allocations.ReclaimList, "reclaims", project=project, after=after, limit=limit
        )

    def run_reclaims(self) -> allocations.Reclaimed:
        """Do now what the hub's clock does each minute. For officers."""
        return self._post(allocations.Reclaimed, "reclaims", "run", again=True)

    def awards(
        self, project: str | None = None, *, ended: bool = False, after: str = "", limit: int = 50
    ) -> allocations.AwardList:
        """Awards as `import_awards` takes them."""
        return self._get(
            allocations.AwardList,
            "awards",
            project=project,
            ended="true" if ended else "",
            after=after,
            limit=limit,
        )

    def import_awards(
        self, rows: list[allocations.LinedAward], *, dry_run: bool = False
    ) -> allocations.ImportReply:
        """Award all rows that are not known yet, or none. For officers."""
        said = allocations.AwardImport(rows=rows, dry_run=dry_run)
        return self._post(allocations.ImportReply, "awards", "import", said=said, again=True)
