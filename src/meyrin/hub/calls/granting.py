"""What a granted ask becomes: an allocation by its mode's door, in parts where the mode has gates.

Each gate of a mode is a tranche, bound to the gate's name, to the project's models (the family is
the project's name) and to the reviewer whose signature a plan needs. Nothing else has to be done
for a passed gate to release it (`hub.calls.tranches`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from meyrin.domain.errors import Conflict, InvalidInput
from meyrin.hub.calls import service, tranches
from meyrin.hub.calls.modes import clock
from meyrin.hub.calls.modes.file import Mode
from meyrin.hub.calls.service import Allocation
from meyrin.hub.plumbing.database import Step

DAY_S = 86_400


def mode_of(modes: Sequence[Mode], name: str) -> Mode:
    """The mode that an ask was kept in. Raises Conflict when its file is gone."""
    found = next((mode for mode in modes if mode.name == name), None)
    if found is None:
        raise Conflict(f"mode {name} is gone", hint="put its file back; something was asked by it")
    return found


def unsigned(modes: Sequence[Mode]) -> frozenset[str]:
    """The modes with a gate whose reviewer is left to whoever decides an ask."""
    return frozenset(mode.name for mode in modes if not all(gate.reviewer for gate in mode.gate))


def grant(
    step: Step,
    mode: Mode,
    project: tuple[str, str],
    charged_type: str,
    amount_s: int,
    *,
    months: int,
    kind: str,
    reason: str,
    reviewer: str = "",
) -> Allocation:
    """Award what was asked. `project` is its id and name; `reviewer` is for gates without one."""
    project_id, family = project
    ends = clock.add_months(datetime.fromtimestamp(step.now_s, UTC).date(), months)
    end_s = int(datetime(ends.year, ends.month, ends.day, tzinfo=UTC).timestamp()) + DAY_S
    parts = parts_of(mode, amount_s, step.now_s, end_s, family, reviewer)
    door = service.PAID if kind in mode.pays else service.ENTITLED
    if len(parts) > 1:
        return tranches.award(
            step,
            project_id,
            charged_type,
            parts,
            start_s=step.now_s,
            end_s=end_s,
            reason=reason,
            mode=mode.name,
            door=door,
        )
    return service.award(
        step,
        project_id,
        charged_type,
        amount_s,
        start_s=step.now_s,
        end_s=end_s,
        reason=reason,
        mode=mode.name,
        door=door,
    )


def parts_of(
    mode: Mode, amount_s: int, start_s: int, end_s: int, family: str, reviewer: str
) -> list[tranches.Part]:
    """What is usable at once, then what waits at each gate; whole seconds, the rest at once.

    Raises InvalidInput where nobody is named whose signature a gate's plan needs.
    """
    behind = []
    for gate in mode.gate:
        signer = gate.reviewer or reviewer
        if not signer:
            raise InvalidInput(
                f"gate {gate.name} of {mode.name} needs a reviewer",
                hint="name the public key of who is to sign its plan, as `meyrin gate key` prints"
                " it: `meyrin call decide ... --reviewer KEY`",
                field="reviewer",
            )
        from_s = start_s + (end_s - start_s) * gate.after_percent // 100
        part_s = amount_s * gate.percent // 100
        if part_s:
            behind.append(tranches.Part(part_s, from_s, gate.name, family, signer))
    at_once_s = amount_s - sum(part.amount_s for part in behind)
    return [tranches.Part(at_once_s, start_s), *behind]
