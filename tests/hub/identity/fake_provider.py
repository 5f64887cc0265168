"""An OpenID provider that is only a story: the test says what it claims and how it signs.

For the faults that a real provider can't be made to show; the real one is in test_real_provider.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import httpx2
from joserfc import jwt
from joserfc.jwk import RSAKey

ISSUER = "https://idp.example"
HUB, CLI = "meyrin-hub", "meyrin-cli"


@dataclass
class FakeProvider:
    """`said` are the claims of the next ID token; `calls` the addresses that were asked."""

    clock_s: Callable[[], float]
    said: dict[str, Any] = field(default_factory=dict)
    key: RSAKey = field(default_factory=lambda: new_key("first"))
    published: list[RSAKey] | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    asked: list[dict[str, list[str]]] = field(default_factory=list)
    answers: dict[str, Callable[[httpx2.Request], httpx2.Response]] = field(default_factory=dict)

    @property
    def transport(self) -> httpx2.MockTransport:
        return httpx2.MockTransport(self._answer)

    def claims(self, subject: str = "s1", audience: str = HUB, **more: Any) -> dict[str, Any]:
        now_s = int(self.clock_s())
        return {
            "iss": ISSUER, "sub": subject, "aud": audience, "iat": now_s, "exp": now_s + 600,
            **more,
        }  # fmt: skip

    def id_token(self, claims: dict[str, Any], algorithm: str = "RS256") -> str:
        return jwt.encode({"alg": algorithm, "kid": self.key.kid}, claims, self.key)

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        path = request.url.path
        self.calls.append(path)
        self.asked.append(parse_qs(request.content.decode()))
        if path in self.answers:
            return self.answers[path](request)
        if path == "/.well-known/openid-configuration":
            return httpx2.Response(200, json={
                "issuer": ISSUER,
                "authorization_endpoint": f"{ISSUER}/auth",
                "token_endpoint": f"{ISSUER}/token",
                "jwks_uri": f"{ISSUER}/keys",
                "device_authorization_endpoint": f"{ISSUER}/device",
                **self.metadata,
            })  # fmt: skip
        if path == "/keys":
            keys = [self.key] if self.published is None else self.published
            return httpx2.Response(200, json={"keys": [key.as_dict(private=False) for key in keys]})
        if path == "/token":
            token = self.id_token(self.said)
            said = {"access_token": "a", "token_type": "Bearer", "id_token": token}
            return httpx2.Response(200, content=json.dumps(said))
        return httpx2.Response(404)


def new_key(name: str) -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": name, "use": "sig", "alg": "RS256"})
