"""Evidence: whole to the byte, signed by whom one trusts, readable by the tools of others."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import random
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from tests.suites.test_facts import RUN, a_sample

from meyrin.domain.errors import Conflict, Failed, MeyrinError, NotAllowed
from meyrin.suites import bundle, facts, keys
from meyrin.suites.bundle import FACTS, MODEL, RECEIPT, STATEMENT
from meyrin.suites.environment import model_files, weights_digest
from meyrin.suites.facts import Facts
from meyrin.suites.keys import Trusted
from meyrin.suites.receipt import JOB_KNOWN, SITE_KNOWN, Receipt, countersign
from meyrin.suites.verify import as_data, verify

SITE, HUB, STRANGER = (bytes([n]) * 32 for n in (1, 2, 3))
TRUST = (
    Trusted("alpha", "site", keys.public_of(SITE)),
    Trusted("the-hub", "hub", keys.public_of(HUB)),
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    (folder / "config.json").write_text("{}")
    (folder / "weights").mkdir()
    (folder / "weights" / "part").write_bytes(bytes(range(256)))
    return folder


def some_facts(model: Path | None) -> Facts:
    weights = weights_digest(model_files(model)) if model else "unmeasured: mock"
    run = replace(RUN, fingerprints=replace(RUN.fingerprints, weights=weights), planned=30)
    samples = tuple(
        a_sample(id=f"t/{n}", scores=(("right", [1.0, 0.0, None][n % 3]),)) for n in range(30)
    )
    return Facts(run, samples)


def handed_in(model: Path, key_is: str = bundle.APART) -> bytes:
    """What a job leaves."""
    logs = {"0/a.eval": b"log" * 99}
    return bundle.draft(some_facts(model), model, logs, b"{}\n", key_is)


def sealed(model: Path, key_is: str = bundle.APART, secret: bytes = SITE) -> bytes:
    """What its agent makes of it."""
    return bundle.seal(handed_in(model, key_is), secret, model, "a-1", "17")


def received(raw: bytes, at_ms: int = 5000, secret: bytes = HUB) -> bytes:
    return countersign(raw, secret, Receipt("the-hub", at_ms, "a-1", (SITE_KNOWN, JOB_KNOWN)))


@pytest.fixture(scope="module")
def raw(model: Path) -> bytes:
    """Signed by the site and the hub."""
    return received(sealed(model))


def test_it_verifies_and_says_what_rests_on_what(raw: bytes, model: Path) -> None:
    found = verify(raw, TRUST, model)
    assert found.trusted
    assert [(each.role, each.name) for each in found.signers] == [
        ("site", "alpha"),
        ("hub", "the-hub"),
    ]
    assert found.missing == ()
    assert (found.word.attempt, found.word.job) == ("a-1", "17")
    assert found.receipt is not None
    assert found.receipt.received_ms == 5000
    files = {file for claim in found.claims for file in claim.files}
    assert files == set(bundle.unzipped(raw))
    assert as_data(found)["root"] == some_facts(model).root
    assert not verify(raw).trusted


def test_the_same_run_has_the_same_bytes(model: Path) -> None:
    one, other = (bundle.unzipped(bundle.pack(some_facts(model), SITE, model, {})) for _ in "ab")
    # model-signing's elliptic curve signature is drawn anew each time
    differ = {name for name in one if one[name] != other[name]}
    assert differ <= {"model.sig", STATEMENT}


def test_any_changed_byte_is_found(raw: bytes) -> None:
    chance = random.Random(11)
    for _ in range(1000):
        changed = bytearray(raw)
        changed[chance.randrange(len(raw))] ^= chance.randrange(1, 256)
        with pytest.raises(Failed, match="this is no evidence"):
            verify(bytes(changed))


def test_any_changed_byte_of_a_member_is_found_where_the_zip_is_made_anew(raw: bytes) -> None:
    """Without the help of the zip's own checksums."""
    members = bundle.unzipped(raw)
    chance = random.Random(12)
    for _ in range(600):
        name = chance.choice(sorted(members))
        changed = bytearray(members[name])
        changed[chance.randrange(len(changed))] ^= chance.randrange(1, 256)
        with pytest.raises(Failed, match="this is no evidence"):
            verify(bundle.zipped({**members, name: bytes(changed)}))


def test_members_come_and_go_unseen_never(raw: bytes) -> None:
    members = bundle.unzipped(raw)
    for name in members.keys() - {RECEIPT}:  # without that it is what it was before the hub had it
        rest = {n: content for n, content in members.items() if n != name}
        with pytest.raises(Failed, match="this is no evidence"):
            verify(bundle.zipped(rest))
    with pytest.raises(Failed, match="this is no evidence"):
        verify(bundle.zipped({**members, "more.txt": b"x"}))
    with pytest.raises(Failed, match="this is no evidence"):
        verify(raw + b"x")


@pytest.mark.parametrize("listed", [b"[1]", b"7", b'[["a", "b", "c"]]', b"[" * 5000])
def test_a_list_of_files_that_is_none_is_no_evidence(model: Path, listed: bytes) -> None:
    """Whoever signs with a key of their own may put anything there."""
    members = {**bundle.unzipped(handed_in(model)), MODEL: listed}
    signed = bundle.seal(bundle.zipped(members), STRANGER, model)
    with pytest.raises(Failed, match="list of the model's files"):
        verify(signed)


def test_members_that_share_their_bytes_are_not_read(raw: bytes) -> None:
    """A small file must not become a large one in memory."""
    again = io.BytesIO(raw)
    with zipfile.ZipFile(again, "a") as file:
        file.filelist.extend(file.filelist[:1] * 5000)
        file.comment = b"x"  # so that the directory is written anew
    with pytest.raises(Failed, match="more than the file holds"):
        verify(again.getvalue())


# --- two signatures


def test_what_a_job_handed_in_is_signed_by_nobody(model: Path) -> None:
    with pytest.raises(Failed, match="no site has signed it"):
        verify(handed_in(model))


def test_the_statement_binds_what_was_handed_in_to_the_attempt(model: Path) -> None:
    found = verify(sealed(model))
    assert found.word.handed_in == hashlib.sha256(handed_in(model)).hexdigest()
    other = bundle.unzipped(bundle.seal(handed_in(model), SITE, model, "a-2", "18"))
    assert other[STATEMENT] != bundle.unzipped(sealed(model))[STATEMENT]


def test_a_missing_signature_is_named_with_what_it_means(model: Path) -> None:
    alone = verify(sealed(model), TRUST[:1])
    (missing,) = alone.missing
    assert missing.what == "the hub's signature"
    assert "no gate takes it" in missing.means
    unknown = verify(received(sealed(model)))
    assert [each.what.split(" key ")[0] for each in unknown.missing] == [
        "somebody who vouches for the site's",
        "somebody who vouches for the hub's",
    ]
    with pytest.raises(NotAllowed, match="no hub"):
        verify(sealed(model), TRUST[:1], hub=True)


def test_a_key_that_jobs_could_read_is_said_to_be_one(model: Path) -> None:
    apart, shared = verify(sealed(model), TRUST[:1]), verify(sealed(model, bundle.SHARED))
    assert any("could not" in claim.says for claim in apart.claims)
    assert any("was not separated" in claim.says for claim in shared.claims)
    assert any("could have signed in its name" in each.means for each in shared.missing)
    here = verify(bundle.pack(some_facts(model), SITE, model, {}))
    assert any("no attempt of a job" in claim.says for claim in here.claims)


def test_a_receipt_for_another_statement_does_not_count(raw: bytes, model: Path) -> None:
    receipt = bundle.unzipped(raw)[RECEIPT]
    other = bundle.unzipped(bundle.seal(handed_in(model), SITE, model, "a-2", "18"))
    with pytest.raises(Failed, match="another statement"):
        verify(bundle.zipped({**other, RECEIPT: receipt}))
    with pytest.raises(Conflict, match="another hub"):
        received(raw, secret=STRANGER)
    assert received(raw, at_ms=9) == raw


def test_a_replaced_key_counts_for_what_a_hub_had_before(model: Path) -> None:
    """And a revoked one never."""
    ended = (replace(TRUST[0], ended_ms=6000), TRUST[1])
    assert verify(received(sealed(model), 5000), ended).trusted
    with pytest.raises(NotAllowed, match="it came later"):
        verify(received(sealed(model), 6000), ended)
    with pytest.raises(NotAllowed, match="no trusted hub says"):
        verify(sealed(model), ended, hub=False)
    with pytest.raises(NotAllowed, match="no trusted hub says"):
        verify(received(sealed(model), 5000, STRANGER), ended, hub=False)
    for which in (0, 1):
        revoked = list(TRUST)
        revoked[which] = replace(TRUST[which], revoked_ms=9000)
        with pytest.raises(NotAllowed, match="revoked"):
            verify(received(sealed(model), 5000), revoked)


@pytest.mark.parametrize("other", [b"", b"PK", b"no zip at all" * 50, b"\0" * 1000])
def test_what_is_no_bundle_is_said_to_be_none(other: bytes) -> None:
    with pytest.raises(Failed, match="this is no evidence"):
        verify(other)


def test_a_compressed_or_commented_zip_is_not_the_one_form(raw: bytes) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in bundle.unzipped(raw).items():
            file.writestr(name, content)
    with pytest.raises(Failed):
        verify(out.getvalue())
    noted = io.BytesIO(raw)
    with zipfile.ZipFile(noted, "a") as file:
        file.comment = b"trust me"
    with pytest.raises(Failed):
        verify(noted.getvalue())


def test_better_scores_signed_by_a_stranger_are_trusted_by_nobody(model: Path) -> None:
    facts = some_facts(model)
    better = Facts(facts.run, tuple(replace(s, scores=(("right", 1.0),)) for s in facts.samples))
    forged = bundle.pack(better, STRANGER, model, {})
    assert not verify(forged, None).trusted
    with pytest.raises(NotAllowed, match="site alpha"):
        verify(forged, TRUST)


def test_a_trusted_site_signs_for_itself_alone_and_a_hub_must_be_there(model: Path) -> None:
    facts = some_facts(model)
    elsewhere = Facts(replace(facts.run, site="beta"), facts.samples)
    with pytest.raises(NotAllowed, match="site beta"):
        verify(bundle.pack(elsewhere, SITE, model, {}), TRUST)
    here = Facts(replace(facts.run, site="here"), facts.samples)
    with pytest.raises(NotAllowed, match="site here") as refused:
        verify(bundle.pack(here, SITE, model, {}), TRUST)
    assert "it was run with --local" in refused.value.hint
    alone = bundle.pack(facts, SITE, model, {})
    with pytest.raises(NotAllowed, match="no hub"):
        verify(alone, TRUST)
    assert verify(alone, TRUST[:1]).trusted
    hub_only = bundle.pack(facts, HUB, model, {})
    with pytest.raises(NotAllowed):
        verify(hub_only, TRUST)


def test_the_signature_of_another_statement_does_not_count(raw: bytes, model: Path) -> None:
    theirs = bundle.opened(bundle.unzipped(raw)[STATEMENT])[1]
    members = bundle.unzipped(bundle.pack(some_facts(model), SITE, model, {"0/b.eval": b"x"}))
    payload, _ = bundle.opened(members[STATEMENT])
    with pytest.raises(Failed, match="not of this statement"):
        verify(bundle.zipped({**members, STATEMENT: bundle.envelope(payload, theirs)}))


def test_another_model_is_not_the_one_that_was_tested(raw: bytes, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{ }")
    with pytest.raises(Failed, match="not the model"):
        verify(raw, model=tmp_path)


def test_a_model_that_nobody_measured_is_said_to_be_so() -> None:
    found = verify(bundle.pack(some_facts(None), SITE, None, {}))
    assert any("nobody measured" in claim.says for claim in found.claims)


@pytest.mark.parametrize(
    ("scores", "result"),
    [((1.0, 1.0), "PASSED"), ((1.0, 0.0), "FAILED"), ((1.0, None), "WARNED"), ((), "FAILED")],
)
def test_the_result_is_passed_only_when_everything_is(
    scores: tuple[float | None, ...], result: str
) -> None:
    samples = tuple(a_sample(id=str(n), scores=(("r", v),)) for n, v in enumerate(scores))
    assert bundle.result(samples) == result


def test_samples_without_any_score_never_pass() -> None:
    assert bundle.result((a_sample(scores=()),)) == "WARNED"


# --- the tools of others


def test_model_signing_itself_agrees(raw: bytes, model: Path, tmp_path: Path) -> None:
    from model_signing import verifying

    for name in ("model.sig", "model.pub"):
        (tmp_path / name).write_bytes(bundle.unzipped(raw)[name])
    config = verifying.Config().use_elliptic_key_verifier(public_key=tmp_path / "model.pub")
    config.verify(model, tmp_path / "model.sig")
    (model / "config.json").write_text("{ }")
    try:
        with pytest.raises(ValueError, match="mismatch"):
            config.verify(model, tmp_path / "model.sig")
    finally:
        (model / "config.json").write_text("{}")


def test_it_is_a_research_object(raw: bytes, tmp_path: Path) -> None:
    from rocrate.rocrate import ROCrate

    with zipfile.ZipFile(io.BytesIO(raw)) as file:
        file.extractall(tmp_path)
    crate = ROCrate(tmp_path)
    listed = {entity.id for entity in crate.data_entities}
    assert listed == set(bundle.unzipped(raw)) - {bundle.CRATE, RECEIPT}
    assert "seed 7" in str(crate.root_dataset["name"])


def test_its_statement_is_in_totos(raw: bytes) -> None:
    from google.protobuf import json_format
    from in_toto_attestation.v1.statement import Statement
    from in_toto_attestation.v1.statement_pb2 import Statement as Plain

    payload, _ = bundle.opened(bundle.unzipped(raw)[STATEMENT])
    made = Statement.copy_from_pb(json_format.Parse(payload, Plain()))
    made.validate()
    assert made.pb.predicate_type == bundle.TEST_RESULT
    assert json.loads(payload)["predicate"]["result"] == "FAILED"


def test_its_envelope_is_dsse(raw: bytes) -> None:
    """Checked once more from the specification's own words."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    told = json.loads(bundle.unzipped(raw)[STATEMENT])
    body = base64.b64decode(told["payload"])
    kind = told["payloadType"].encode()
    message = b" ".join([b"DSSEv1", str(len(kind)).encode(), kind, str(len(body)).encode(), body])
    for each in told["signatures"]:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(each["public"]))
        key.verify(base64.b64decode(each["sig"]), message)


# --- the commands


@pytest.fixture
def place(raw: bytes, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    (tmp_path / "evidence.zip").write_bytes(raw)
    told = [asdict(each) for each in TRUST]
    (tmp_path / "trust.json").write_text(json.dumps({"keys": told}))

    def meyrin(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "meyrin", "evidence", *arguments],
            capture_output=True, text=True, check=False, cwd=tmp_path,
            env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        )  # fmt: skip

    return meyrin


def test_exit_codes_of_verify(
    place: Callable[..., subprocess.CompletedProcess[str]], raw: bytes, tmp_path: Path
) -> None:
    good = place("verify", "evidence.zip", "--trust", "trust.json")
    assert good.returncode == 0, good.stderr
    assert "signed by" in good.stdout
    unnamed = place("verify", "evidence.zip")
    assert unnamed.returncode == 0
    assert "somebody who vouches for the site's key" in unnamed.stderr
    (tmp_path / "trust.json").write_text('{"keys": []}')
    assert place("verify", "evidence.zip", "--trust", "trust.json").returncode == 4
    (tmp_path / "evidence.zip").write_bytes(raw[:-1])
    broken = place("verify", "evidence.zip", "--json")
    assert broken.returncode == 1
    assert "error" in json.loads(broken.stdout)
    assert place("verify", "none-such.zip").returncode == 5
    assert place("verify").returncode == 2


def test_keys_and_countersignatures(
    place: Callable[..., subprocess.CompletedProcess[str]], model: Path, tmp_path: Path
) -> None:
    made = place("key", "hub.key")
    assert made.stdout == place("key", "hub.key").stdout
    assert (tmp_path / "hub.key").stat().st_mode & 0o777 == 0o600
    trust = json.loads(place("key", "hub.key", "--name", "h", "--role", "hub").stdout)
    site = {"name": "alpha", "role": "site", "public": keys.public_of(SITE)}
    (tmp_path / "trust.json").write_text(json.dumps({"keys": [site, *trust["keys"]]}))
    path = tmp_path / "evidence.zip"
    path.write_bytes(bundle.pack(some_facts(model), SITE, model, {}))
    assert place("verify", "evidence.zip", "--trust", "trust.json").returncode == 4
    assert (
        place("sign", "evidence.zip", "--key", "hub.key", "--trust", "trust.json").returncode == 0
    )
    assert place("verify", "evidence.zip", "--trust", "trust.json").returncode == 0
    path.write_bytes(path.read_bytes()[:-9])
    assert place("sign", "evidence.zip", "--key", "hub.key").returncode == 1


def test_facts_of_a_bundle_are_read_as_they_were_written(raw: bytes, model: Path) -> None:
    assert facts.parse(bundle.unzipped(raw)[FACTS]) == Facts(
        some_facts(model).run, facts.in_order(some_facts(model).samples)
    )


@pytest.mark.parametrize("text", ["", "xyz", "ab" * 31, "é"])
def test_what_is_no_key_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "key").write_text(text, encoding="utf-8")
    with pytest.raises(MeyrinError, match="is no key"):
        keys.read(tmp_path / "key")
