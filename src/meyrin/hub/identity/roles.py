"""Which roles people and organisations hold: the rows. Who may give which is asked above.

A project's member or lead, a site's operator and an administrator are kept where they were; other
roles, and what organisations hold, are rows of one table. Rights are read at every request, so a
role that is taken ends with the next one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from meyrin.domain.errors import Conflict, NotFound, Refused
from meyrin.domain.ids import new_id
from meyrin.hub.identity import outside_store, roles_store, store
from meyrin.hub.identity import service as identity
from meyrin.hub.plumbing.paging import cut

if TYPE_CHECKING:
    from meyrin.hub.identity.service import Person
    from meyrin.hub.plumbing.database import Step

ADMINISTRATOR, PROGRAMME, AUDITOR = "administrator", "programme-officer", "auditor"


@dataclass(frozen=True, slots=True)
class Held:
    """A role somebody holds. `thing` is the id of a project or site, the name of a call, or
    empty. `organisation` is set where it comes from there. Not all have a date."""

    scope: str
    role: str
    thing: str
    person: str
    organisation: str
    given_ms: int | None
    given_by: str


def held(step: Step, person_id: str | None, after: str, limit: int) -> tuple[list[Held], str]:
    """One page of roles by holder: of one person, also by their organisation, or of everybody."""
    rows, following = cut(roles_store.listed(step, person_id, after, limit), limit, "key")
    return [_held(row) for row in rows], following


def give(
    step: Step, scope: str, thing: str, role: str, *, by: str, person: Person | None = None,
    organisation: str = "",
) -> bool:  # fmt: skip
    """Give a role that stands in the table of roles; whether they did not hold it. Twice is
    fine."""
    if organisation and outside_store.organisation(step, organisation) is None:
        raise NotFound(
            f"there is no organisation {organisation!r}",
            hint="`meyrin organisation list` shows them",
            name=organisation,
        )
    row = {
        "id": new_id("role", step.entropy),
        "scope": scope,
        "thing": thing,
        "role": role,
        "holder": person.id if person else "",
        "organisation": organisation,
        "given_ms": step.now_ms,
        "given_by": by,
    }
    return bool(step.add_new(store.roles, [row], told=(store.roles.c.id,)))


def take(
    step: Step, scope: str, thing: str, role: str, *, person: Person | None = None,
    organisation: str = "",
) -> None:  # fmt: skip
    """Take a role away. NotFound when it is not held."""
    holder = person.id if person else ""
    if not roles_store.take(step, scope, thing, role, holder, organisation):
        who = person.name if person else organisation
        raise NotFound(f"{who} does not hold this role", hint="`meyrin role list` shows who does")


def make_administrator(step: Step, person: Person) -> None:
    roles_store.set_admin(step, person.id, admin=True)


def end_administrator(step: Step, person: Person) -> None:
    """Refused for the last one; of two who end each other at once, one is left."""
    if not person.admin:
        raise NotFound(f"{person.name} is no administrator")
    if [row.id for row in store.active_admins(step)] == [person.id]:
        raise Refused(
            f"{person.name} is the last administrator",
            hint="make another administrator first",
            name=person.name,
        )
    roles_store.set_admin(step, person.id, admin=False)


def receiver(step: Step, name: str) -> Person:
    """A person who may be given something: known, let in, not shut out."""
    found = identity.person_by_name(step, name)
    if found.disabled_ms is not None:
        raise Conflict(f"{name} is disabled", hint="ask an administrator", name=name)
    if found.waits_ms is not None:
        raise Conflict(
            f"{name} is not let in yet", hint=f"let them in: `meyrin person approve {name}`"
        )
    return found


def _held(row: Any) -> Held:
    return Held(
        row.scope, row.role, row.thing, row.person, row.organisation, row.given_ms, row.given_by
    )
