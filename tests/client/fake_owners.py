"""What the fake hub answers about owners."""

from __future__ import annotations

from typing import Any

from meyrin.domain.site import OwnerShare
from meyrin.wire import owners
from meyrin.wire.sites import ShareTerm, ShareTerms


def answers() -> dict[str, Any]:
    state = owners.MonthView(
        month="2026-11",
        state="published",
        frozen_ms=1,
        digest="abc",
        published_ms=2,
        published_by="root",
    )
    line = owners.OwnerLine(
        owner="cern",
        charged_type="core",
        entitled_s=7200,
        delivered_s=3600,
        paid_s=3600,
        returned_s=3600,
        income_cents=1234,
    )
    back = owners.ReturnView(
        owner="cern",
        charged_type="core",
        entitled_s=7200,
        returned_s=3600,
        numerator=1,
        denominator=2,
        coefficient="0.500",
        band="poor",
    )
    document = owners.Document(
        version=1,
        month="2026-11",
        from_s=0,
        until_s=1,
        owners=[line],
        offers=[],
        corrections=[],
        unknown=[owners.UnknownLine(offer_id="o", site="alps", partition="gpu", seconds=3600)],
    )
    statement = owners.OwnersStatement(state=state, document=document, returns=[back])
    draft = statement.model_copy(
        update={"state": state.model_copy(update={"state": "draft", "published_ms": None})}
    )
    said = owners.CommentView(
        id=1, at_ms=1, person="ada", owner="cern", phase="draft", words="why?\nnow"
    )
    speaker = owners.SpeakerView(owner="cern", person="ada", since_ms=1)
    month = "/owners/months/2026-11"
    return {
        "GET /owners/months": owners.MonthList(months=[state], next=""),
        f"GET {month}": statement,
        "GET /owners/months/1970-01": draft,
        f"POST {month}/publish": state,
        f"GET {month}/comments": owners.CommentList(comments=[said], next=""),
        f"POST {month}/comments": said,
        "GET /owners/return": owners.YearView(
            year=2026, months=["2026-11"], drafts=["2026-11"], returns=[back]
        ),
        "GET /owners/speakers": owners.SpeakerList(speakers=[speaker], next=""),
        "POST /owners/speakers": None,
        "DELETE /owners/speakers/cern/ada": None,
        "GET /sites/alps/offers/off_1/shares": ShareTerms(
            offer="off_1", terms=[ShareTerm(from_s=0, owners=[OwnerShare("cern", 3)])]
        ),
        "POST /sites/alps/offers/off_1/shares": ShareTerms(
            offer="off_1", terms=[ShareTerm(from_s=9, owners=[OwnerShare("cern", 3)])]
        ),
    }
