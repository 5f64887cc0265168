"""What an enrolment lets a site lend as it joins, over the wire."""

from __future__ import annotations

import hashlib

import pytest
from tests.hub.facility import ScriptedAgent

from meyrin.domain.site import OwnerShare, Partition
from meyrin.wire.agents import HelloBody, LeaseBody
from meyrin.wire.sites import About, ProposedOffer

GPU = Partition("gpu", 2, 64, 256_000)
CPU = Partition("cpu", 2, 64, 256_000)
SECRET = f"myr_{7:043}"


@pytest.fixture
def admin(hub):
    return hub.client("root")


def about(*names, owner="uni"):
    return About(
        version="1",
        offers=tuple(
            ProposedOffer(partition=name, owners=[OwnerShare(owner, 1)], start_s=None, end_s=None)
            for name in names
        ),
    )


def body(start, told):
    return HelloBody(
        incarnation=start, version="1", batch_kind="slurm", partitions=[GPU, CPU], about=told
    )


def offers(admin):
    return admin.get("/api/v1/sites/jura").json()["offers"]


def joined(hub, admin, **wanted):
    made = admin.post("/api/v1/sites/jura/enrolment", json=wanted).json()
    digest = hashlib.sha256(SECRET.encode()).hexdigest()
    sent = {"enrolment": made["secret"], "digest": digest}
    assert hub.client().post("/api/v1/agent/join", json=sent).status_code == 200
    hub.clock.pass_s(300)  # its test job
    return ScriptedAgent(hub, "jura", "", SECRET, (GPU, CPU))


def test_only_the_first_hello_of_an_enrolment_lends(hub, admin):
    agent = joined(hub, admin, lend=True)
    for _ in range(2):  # the answer was lost
        assert agent.post("hello", body("a.1", about("gpu"))).status_code == 200
    (lent,) = offers(admin)
    rows = admin.get("/api/v1/audit", params={"thing": lent["id"]}).json()["rows"]
    assert [(row["verb"], row["facts"]["by"]) for row in rows] == [("offer.lend", "join")]
    # an [[offer]] that is new in the file, and one that an administrator ended
    said = LeaseBody(
        incarnation="a.1", most=1, wait_s=0, partitions=[GPU, CPU], about=about("gpu", "cpu")
    )
    assert agent.post("lease", said).status_code == 200
    assert offers(admin) == [lent]
    assert admin.post(f"/api/v1/sites/jura/offers/{lent['id']}/end", json={}).status_code == 204
    hub.clock.pass_s(60)
    assert agent.post("hello", body("a.2", about("gpu", "cpu", owner="mine"))).status_code == 200
    assert offers(admin) == []
