"""Replies of slurmrestd that were recorded or written down, served as if it stood there.

Each file says of itself where it is from (`_about`). All of them tell of the same jobs, so that
one table of expectations holds for every version.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx2

from meyrin.agent.config import SlurmConfig
from meyrin.agent.slurm.rest import Rest

FOLDER = Path(__file__).parent / "recorded"
RELEASES = tuple(sorted(each.stem.removeprefix("rest-") for each in FOLDER.glob("rest-*.json")))
_PLAIN = {"ping", "partitions", "nodes", "associations", "qos", "clusters"}


class Recorded:
    """Answers questions from one file; `asked` holds what was asked."""

    def __init__(self, release: str) -> None:
        told = json.loads((FOLDER / f"rest-{release}.json").read_text(encoding="utf-8"))
        self.version: str = told["version"]
        self.replies: dict[str, Any] = told["replies"]
        self.asked: list[httpx2.Request] = []
        self.refusing = False

    def transport(self) -> Rest:
        config = SlurmConfig(transport="rest", rest_url="http://slurm.example:6820")
        return Rest(
            config, "mtb1", lambda: 0.0, transport=httpx2.MockTransport(self), uid_of=lambda _: 1001
        )

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request)
        room, version, *rest = request.url.path.strip("/").split("/")
        if version != self.version:
            return httpx2.Response(404, text="Unable find requested URL.")
        return self._reply(room, "/".join(rest), request)

    def _reply(self, room: str, what: str, request: httpx2.Request) -> httpx2.Response:
        query = {k: v[0] for k, v in parse_qs(request.url.query.decode()).items()}
        if what in _PLAIN:
            return self._json(what)
        if request.method == "DELETE":
            return self._json("end-unknown", 500)
        if what == "job/submit":
            return self._json("submit-no", 500) if self.refusing else self._json("submit-yes")
        if room == "slurm" and what == "jobs":
            return self._json("jobs")
        assert (room, what) == ("slurmdb", "jobs"), request.url
        assert query, "all of accounting was asked for"
        return self._accounting(query)

    def _accounting(self, query: dict[str, str]) -> httpx2.Response:
        jobs = self.replies["accounting"]["jobs"]
        if "step" in query:
            ids = set(query["step"].split(","))
            jobs = [each for each in jobs if str(each["job_id"]) in ids]
        if "job_name" in query:
            names = set(query["job_name"].split(","))
            jobs = [each for each in jobs if each["name"] in names]
        if "users" in query:
            jobs = [each for each in jobs if each["user"] == query["users"]]
        if not jobs:
            return self._json("nothing")
        return httpx2.Response(200, json=self.replies["accounting"] | {"jobs": jobs})

    def _json(self, name: str, status: int = 200) -> httpx2.Response:
        return httpx2.Response(status, json=self.replies[name])
