"""The page of owners' statements."""

from __future__ import annotations

import csv
import io

from meyrin.hub.owners import service

JANUARY = "2027-01"
HTML = {"accept": "text/html"}
OURS = {**HTML, "origin": "http://hub.test"}


def test_a_month_from_draft_to_published(sqlite_hub):
    hub = sqlite_hub
    root, ada = hub.client("root"), hub.client("ada")
    assert "no month to see yet" in ada.get("/owners", headers=HTML).text
    hub.submit()
    hub.steps()
    (work,) = hub.agents["alps"].lease().work
    hub.clock.pass_s(3600)
    hub.agents["alps"].report(hub.agents["alps"].ended(work, elapsed_s=3600))
    page = root.get("/owners", headers=HTML)
    assert page.status_code == 200
    assert "A draft" in page.text
    assert "alps-owner 32.000 against 1.000" in page.text
    assert "Comment; it stays" not in page.text
    assert ada.get(f"/owners?month={JANUARY}", headers=HTML).status_code == 403
    with hub.write() as step:
        service.speak(step, hub.actor("root"), "alps-owner", "ada")
    said = {"owner": "alps-owner", "words": "<b>why?</b>\r\nso", "key": "k"}
    for _ in range(2):
        answer = ada.post(f"/owners/{JANUARY}/comments", data=said, headers=OURS)
        assert answer.status_code == 303, answer.text
    shown = ada.get(f"/owners?month={JANUARY}", headers=HTML).text
    assert shown.count("&lt;b&gt;why?&lt;/b&gt;") == 1
    hub.clock.pass_s(40 * 86_400)
    for _ in range(2):
        with hub.write() as step:
            service.freeze_due(step, 8)
        hub.clock.pass_s(601)
    assert f"Publish {JANUARY}" in root.get(f"/owners?month={JANUARY}", headers=HTML).text
    assert ada.post(f"/owners/{JANUARY}/publish", headers=OURS).status_code == 403
    assert root.post(f"/owners/{JANUARY}/publish", headers=OURS).status_code == 303
    assert "it never changes" in hub.client("bob").get("/owners", headers=HTML).text
    rows = list(csv.DictReader(io.StringIO(root.get(f"/owners/{JANUARY}/statement.csv").text)))
    assert [(row["owner"], row["delivered_s"]) for row in rows] == [("alps-owner", "3600")]
