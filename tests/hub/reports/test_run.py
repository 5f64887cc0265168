"""The page that runs a job: a script as it stands, one job per key, and words for what is wrong."""

from __future__ import annotations

import re
from html import unescape

import pytest

HTML = {"accept": "text/html"}
SCRIPT = "#!/bin/sh\r\n#SBATCH --time=5\r\necho hello\r\n"


def test_a_newcomer_is_led_to_hours_first(sqlite_hub):
    sqlite_hub.person("zoe")
    page = sqlite_hub.client("zoe").get("/run", headers=HTML).text
    assert "You are in no project yet" in page
    assert 'href="/apply"' in page


def test_the_example_runs_as_it_stands(sqlite_hub):
    ada = sqlite_hub.client("ada")
    page = ada.get("/run?project=lab", headers=HTML).text
    shown = re.search(r"<textarea[^>]*>\n(.*?)</textarea>", page, re.DOTALL)
    key = re.search(r'name="key" value="([0-9a-f]+)"', page)
    assert shown
    assert key
    sent = {"project": "lab", "script": unescape(shown[1]), "key": key[1]}
    answers = [ada.post("/run", data=sent) for _ in range(2)]
    assert {answer.status_code for answer in answers} == {303}
    assert len({answer.headers["location"] for answer in answers}) == 1, "one key, one job"
    job = answers[0].headers["location"].rpartition("/")[2]
    assert sqlite_hub.detail(job).job.name == "first"
    assert sqlite_hub.steps() == 1


def test_a_script_may_name_the_project_that_was_chosen(sqlite_hub):
    sent = {"project": "lab", "script": "#!/bin/sh\n#SBATCH -A lab\ntrue\n", "key": "one-of-ada"}
    answer = sqlite_hub.client("ada").post("/run", data=sent, headers=HTML)
    assert answer.status_code == 303


def test_hours_of_an_accelerator_ask_for_one(sqlite_hub):
    from tests.hub.facility import GPU

    sqlite_hub.site("jura", GPU)
    sqlite_hub.project("grid", "ada")
    sqlite_hub.award("grid", "gh200", 10)
    page = sqlite_hub.client("ada").get("/run?project=grid", headers=HTML).text
    assert "#SBATCH --gpus=gh200:1" in page


@pytest.mark.parametrize(
    ("said", "status", "words"),
    [
        ({"script": "#!/bin/sh\n#SBATCH --tmie=5\ntrue\n"}, 422, "--tmie"),
        ({"script": "true\n"}, 422, "#!"),
        ({"script": "#!/bin/sh\n#SBATCH --test-only\ntrue\n"}, 422, "nothing is to run"),
        ({"project": ""}, 422, "which project pays?"),
        ({"project": "secret"}, 404, "there is no project"),
        ({"script": "#!/bin/sh\n#SBATCH --nodes=400\ntrue\n"}, 409, "alps"),
        ({"script": "#!/bin/sh\n#SBATCH -A other\ntrue\n"}, 422, "--account=other, and lab is"),
    ],
)
def test_what_is_wrong_is_said_and_the_script_stays(sqlite_hub, said, status, words):
    sqlite_hub.person("eve")
    sqlite_hub.project("secret", "eve")
    sent = {"project": "lab", "script": SCRIPT, "key": "key-of-ada"} | said
    answer = sqlite_hub.client("ada").post("/run", data=sent, headers=HTML)
    assert answer.status_code == status, answer.text
    assert words in unescape(answer.text)
    assert unescape(sent["script"].replace("\r\n", "\n").splitlines()[-1]) in unescape(answer.text)
    assert sqlite_hub.steps() == 0


def test_the_page_costs_the_same_however_many_projects(sqlite_hub):
    ada = sqlite_hub.client("ada")
    costs = []
    for number in range(3):
        sqlite_hub.project(f"p{number}", "ada")
        with sqlite_hub.counting() as statements:
            assert ada.get("/run", headers=HTML).status_code == 200
            costs.append(len(statements))
    assert len(set(costs)) == 1
    assert costs[0] <= 6
