"""What a site's own accounts and limits should be: its projects, their people, what is left."""

from __future__ import annotations

from collections import defaultdict

from meyrin.hub.calls import paying
from meyrin.hub.identity import leaving
from meyrin.hub.identity import service as identity
from meyrin.hub.plumbing.database import Step
from meyrin.hub.sites import service as sites
from meyrin.wire.limits import Left, LimitsReply, ProjectLimits


def wanted(step: Step, site_id: str) -> LimitsReply:
    """Every open project that may use the site and has hours, now, of a type that it charges.

    Of a type whose hours are over nothing is left. What is left counts holds too: they are for
    jobs that are there or on their way. Seven queries, however many projects.
    """
    site = sites.site(step, site_id)
    types = {each.charged_type for each in site.partitions}
    names = identity.open_projects(step, site.allowed_projects)
    left: defaultdict[str, dict[str, int]] = defaultdict(dict)
    over: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for each in paying.funds(step, names) if names else ():
        if each.charged_type not in types:
            continue
        if each.start_s <= step.now_s < each.end_s:
            sums = left[each.project]
            # of a paused one, what is on hold alone: jobs that are there go on
            more = (0 if each.paused else max(0, each.free_s)) + each.held_s
            sums[each.charged_type] = sums.get(each.charged_type, 0) + more
        else:
            over[each.project].setdefault(each.charged_type, 0)
    people = identity.people_of(step, left)
    gone = leaving.unconfirmed(step, site_id)
    return LimitsReply(
        at_ms=step.now_ms,
        projects=[
            ProjectLimits(
                project=names[one], people=people.get(one, []), left_s=over[one] | left[one]
            )
            for one in sorted(left, key=lambda project: names[project])
        ],
        left=[Left(departure=one.id, project=one.project, person=one.person) for one in gone],
    )
