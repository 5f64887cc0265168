"""`meyrin evidence`: check what a run of a suite left, offline; and keys and countersignatures."""

from __future__ import annotations

from pathlib import Path

import click

from meyrin.cli.lazy import Entry, LazyGroup
from meyrin.cli.session import Session, json_option, pass_session
from meyrin.cli.terminal import clean, data, data_json, say
from meyrin.domain.errors import InvalidInput, NotFound

HERE = "meyrin.cli.evidence"
ENTRIES = {
    "verify": Entry(f"{HERE}:verify", "Whether evidence is whole, and who signed it."),
    "sign": Entry(f"{HERE}:sign", "Countersign evidence that verifies."),
    "key": Entry(f"{HERE}:key", "Make a key, or show the public half of one."),
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

    A trust file lists {"keys": [{"name": ..., "role": "site" or "hub", "public": ...}]}.
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
    if not found.trusted:
        for _, _, public in found.signers:
            say(f"note: signed with the key {public}, for which nobody vouches: give --trust FILE")


@click.command("sign", epilog="Example: meyrin evidence sign evidence.zip --key hub.key")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--key", required=True, type=click.Path(path_type=Path), metavar="FILE")
@click.option("--trust", type=click.Path(path_type=Path), metavar="FILE", help="Whose keys count.")
@json_option
@pass_session
def sign(session: Session, file: Path, key: Path, trust: Path | None) -> None:
    """Countersign evidence, as a hub does; only if it verifies first.

    With --trust, only if the site's key is in that file.
    """
    from meyrin.suites import bundle, keys  # noqa: PLC0415
    from meyrin.suites.verify import verify as check  # noqa: PLC0415

    secret = keys.read(key)
    sites = [each for each in keys.read_trust(trust) if each.role == "site"] if trust else None
    raw = _read(file)
    check(raw, sites)
    draft = file.with_name(f".{file.name}.part")
    draft.write_bytes(bundle.countersign(raw, secret))
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


def _read(file: Path) -> bytes:
    from meyrin.suites.bundle import MOST_BYTES  # noqa: PLC0415

    try:
        if file.stat().st_size > MOST_BYTES:
            raise InvalidInput(f"{file} is larger than evidence may be", field="file")
        return file.read_bytes()
    except OSError as error:
        raise NotFound(f"{file} can't be read: {error.strerror}", file=str(file)) from error
