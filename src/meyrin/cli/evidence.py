"""`meyrin evidence`: check what a run of a suite left, offline; and keys and countersignatures."""

from __future__ import annotations

from pathlib import Path

import click

from meyrin.cli.lazy import Entry, LazyGroup
from meyrin.cli.listing import show_list
from meyrin.cli.session import Session, json_option, lists, pass_session
from meyrin.cli.terminal import clean, data, data_json, moment, say
from meyrin.domain.errors import NotFound

HERE = "meyrin.cli.evidence"
ENTRIES = {
    "verify": Entry(f"{HERE}:verify", "Whether evidence is whole, and who signed it."),
    "sign": Entry(f"{HERE}:sign", "Countersign evidence that verifies."),
    "key": Entry(f"{HERE}:key", "Make a key, or show the public half of one."),
    "keys": Entry(f"{HERE}:keys_", "Whose signatures count, as the hub publishes it."),
}


@click.group("evidence", cls=LazyGroup, entries=ENTRIES)
def group() -> None:
    """What a run of a suite left: facts, logs and signatures in one file that stands alone."""


@click.command(
    "verify",
    epilog="""\b
Examples:
  meyrin evidence verify safety-model-1/evidence.zip --trust trust.json
  meyrin evidence verify evidence.zip --model ./model
Exit codes: 0 whole (and trusted, with --trust), 1 changed or no evidence,
4 signed by nobody whom the trust file names, 5 no such file.
""",
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--trust", type=click.Path(path_type=Path), metavar="FILE", help="Whose keys count.")
@click.option("--model", type=click.Path(path_type=Path), metavar="DIR", help="Was it this model?")
@json_option
@pass_session
def verify(session: Session, file: Path, trust: Path | None, model: Path | None) -> None:
    """Whether evidence is whole, offline, and which claim rests on which file.

    The site's agent signs what a job handed in, the hub countersigns it when it comes. A missing
    signature is named, with what its lack means. A trust file lists whose keys count:
    {"keys": [{"name": ..., "role": "site" or "hub", "public": ...}]}; `meyrin evidence keys --json`
    writes one.
    """
    from meyrin.suites import keys  # noqa: PLC0415
    from meyrin.suites.verify import as_data  # noqa: PLC0415
    from meyrin.suites.verify import verify as check  # noqa: PLC0415

    known = keys.read_trust(trust) if trust else None
    found = check(_read(file), known, model)
    if session.json:
        data_json(as_data(found))
        return
    for claim in found.claims:
        data(clean(f"ok  {claim.says}  [{', '.join(claim.files)}]"))
    for each in found.missing:
        say(clean(f"missing: {each.what}: {each.means}"))


@click.command("sign", epilog="Example: meyrin evidence sign evidence.zip --key hub.key")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--key", required=True, type=click.Path(path_type=Path), metavar="FILE")
@click.option("--trust", type=click.Path(path_type=Path), metavar="FILE", help="Whose keys count.")
@click.option("--name", default="hub", show_default=True, help="Who says that it came.")
@json_option
@pass_session
def sign(session: Session, file: Path, key: Path, trust: Path | None, name: str) -> None:
    """Countersign evidence, offline; only if it verifies first. Hubs do it by themselves.

    With --trust, only if the site's key is in that file. Such a receipt says of no job that it is
    known, as only a hub can.
    """
    from meyrin.suites import keys, receipt  # noqa: PLC0415
    from meyrin.suites.verify import verify as check  # noqa: PLC0415

    secret = keys.read(key)
    raw = _read(file)
    found = check(raw, keys.read_trust(trust) if trust else None, hub=False)
    said = receipt.Receipt(
        name,
        int(session.clock() * 1000),
        found.word.attempt,
        (receipt.SITE_KNOWN,) if trust else (),
    )
    draft = file.with_name(f".{file.name}.part")
    draft.write_bytes(receipt.countersign(raw, secret, said))
    draft.replace(file)
    if session.json:
        data_json({"evidence": str(file), "public": keys.public_of(secret)})
    else:
        say(f"{file} is countersigned with the key {keys.public_of(secret)}")


@click.command("key", epilog="Example: meyrin evidence key site.key --name alpha > trust.json")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", default="", help="Print a trust file that names this key.")
@click.option("--role", type=click.Choice(["site", "hub"]), default="site", show_default=True)
@pass_session
def key(session: Session, file: Path, name: str, role: str) -> None:
    """Make a key if there is none in the file, and print its public half."""
    from meyrin.suites import keys  # noqa: PLC0415

    session.json = bool(name)
    public = keys.make(file)
    if name:
        data_json({"keys": [{"name": name, "role": role, "public": public}]})
    else:
        data(public)


@click.command(
    "keys",
    epilog="""\b
Examples:
  meyrin evidence keys
  meyrin evidence keys --json > trust.json
""",
)
@lists
def keys_(session: Session, limit: int, after: str) -> None:
    """Whose signatures of evidence count, as the hub publishes it; with --json a trust file.

    An ended key was replaced: what a hub received before still counts. Nothing counts that a
    revoked key has signed.
    """
    with session.client() as hub:
        page = hub.gates.keys(after=after, limit=limit)
    rows = [
        (
            each.name,
            each.role,
            each.public,
            moment(each.since_ms),
            moment(each.revoked_ms or each.ended_ms) if each.revoked_ms or each.ended_ms else "-",
            "revoked" if each.revoked_ms else "ended" if each.ended_ms else "counts",
        )
        for each in page.keys
    ]
    empty = "No key counts yet. `meyrin gate trust SITE KEY` names one."
    show_list(session, page, "NAME ROLE KEY SINCE UNTIL STATE", rows, empty)


def _read(file: Path) -> bytes:
    from meyrin.suites.bundle import check_size  # noqa: PLC0415

    try:
        check_size(file.stat().st_size)
        return file.read_bytes()
    except OSError as error:
        raise NotFound(f"{file} can't be read: {error.strerror}", file=str(file)) from error
