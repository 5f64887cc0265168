"""Sites, projects, people and the ledger, by noun: `client.sites.enrol("alps")`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from meyrin.client.connection import Connection, body, read
from meyrin.domain.errors import NotFound
from meyrin.domain.site import OwnerShare
from meyrin.wire import identity, ledger, limits, plans, queue, roles, sites, terms
from meyrin.wire.jobs import Body, StoreView

if TYPE_CHECKING:
    from pydantic import BaseModel

Model = TypeVar("Model", bound=Body)
Page = TypeVar("Page")


def every(page: Callable[..., Page], **which: Any) -> Iterator[Page]:
    """All pages of a listing: `every(client.sites.list)`."""
    following = ""
    while True:
        found: Any = page(after=following, **which)
        yield found
        following = found.next
        if not following:
            return


def path(*parts: str) -> str:
    """An address below the API; a name stays one part of it whatever it holds. Raises NotFound
    for what no address can hold as one part: on its way it would come to mean another."""
    for part in parts:
        if part in {"", ".", ".."} or "/" in part:
            raise NotFound(f"there is nothing called {part!r}", hint="a name holds no '/'")
    return "/" + "/".join(quote(part, safe="") for part in parts)


class Room:
    """What the nouns share: the connection, and how replies become values."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def _get(self, model: type[Model], *parts: str, **asked: Any) -> Model:
        said = {name: value for name, value in asked.items() if value not in {None, ""}}
        answer = self._connection.call("GET", path(*parts), repeatable=True, params=said)
        return read(model, answer.content)

    def _post(
        self, model: type[Model], *parts: str, said: BaseModel | None = None, again: bool = False
    ) -> Model:
        answer = self._send("POST", *parts, said=said, again=again)
        return read(model, answer)

    def _send(
        self, method: str, *parts: str, said: BaseModel | None = None, again: bool = False
    ) -> bytes:
        """`again`: sending it twice does what sending it once does."""
        more = {} if said is None else body(said)
        return self._connection.call(method, path(*parts), repeatable=again, **more).content


class Sites(Room):
    def list(self, *, after: str = "", limit: int = 50) -> sites.SiteList:
        return self._get(sites.SiteList, "sites", after=after, limit=limit)

    def show(self, name: str) -> sites.SiteDetail:
        return self._get(sites.SiteDetail, "sites", name)

    def enrol(self, name: str, title: str = "") -> sites.Enrolled:
        """A new site; the reply holds its agent's credential, shown this once. For agents that
        are set up by hand: `enrolment` lets one join by itself."""
        return self._post(sites.Enrolled, "sites", said=sites.NewSite(name=name, title=title))

    def enrolment(self, name: str, wish: sites.NewEnrolment) -> sites.EnrolmentSecret:
        """A token that lets one agent join as `name`, once; the one before it then ends."""
        return self._post(sites.EnrolmentSecret, "sites", name, "enrolment", said=wish, again=True)

    def credentials(self, name: str, *, after: str = "", limit: int = 50) -> sites.CredentialList:
        """A site's credentials and enrolments with their last use, newest first."""
        where = ("sites", name, "credentials")
        return self._get(sites.CredentialList, *where, after=after, limit=limit)

    def queue(self, name: str, *, after: str = "", limit: int = 50) -> queue.SiteQueue:
        """The site's whole queue as it told it last, in pseudonyms; for its operators."""
        return self._get(queue.SiteQueue, "sites", name, "queue", after=after, limit=limit)

    def drift(self, name: str, *, after: str = "", limit: int = 50) -> limits.SiteDrift:
        """What the site's own accounts and limits lack; for its operators."""
        return self._get(limits.SiteDrift, "sites", name, "drift", after=after, limit=limit)

    def drain(self, name: str, reason: str) -> sites.SiteView:
        """Send nothing new there; what runs goes on."""
        said = sites.DrainBody(reason=reason)
        return self._post(sites.SiteView, "sites", name, "drain", said=said, again=True)

    def resume(self, name: str) -> sites.SiteView:
        return self._post(sites.SiteView, "sites", name, "resume", again=True)

    def offer(
        self,
        name: str,
        partition: str,
        owners: Sequence[OwnerShare],
        *,
        start_s: int | None = None,
        end_s: int | None = None,
        price_cents: int | None = None,
    ) -> sites.OfferView:
        """Lend a partition for its owners, from now or `start_s` until `end_s`."""
        said = sites.NewOffer(
            partition=partition,
            owners=list(owners),
            start_s=start_s,
            end_s=end_s,
            price_cents=price_cents,
        )
        return self._post(sites.OfferView, "sites", name, "offers", said=said)

    def shares(self, name: str, offer: str) -> sites.ShareTerms:
        """Whose an offer is, from when on; all changes."""
        return self._get(sites.ShareTerms, "sites", name, "offers", offer, "shares")

    def change_shares(
        self, name: str, offer: str, owners: Sequence[OwnerShare], from_s: int
    ) -> sites.ShareTerms:
        """Let an offer be of these owners from `from_s` on."""
        said = sites.NewShares(owners=list(owners), from_s=from_s)
        where = ("sites", name, "offers", offer, "shares")
        return self._post(sites.ShareTerms, *where, said=said, again=True)

    def end_offer(self, name: str, offer: str, end_s: int | None = None) -> None:
        said = sites.OfferEnd(end_s=end_s)
        self._send("POST", "sites", name, "offers", offer, "end", said=said)

    def allow(self, name: str, projects: Sequence[str] | None) -> sites.SiteView:
        """Let only these projects use a site; None lets everyone."""
        said = sites.AllowedProjects(projects=None if projects is None else list(projects))
        answer = self._send("PUT", "sites", name, "projects", said=said, again=True)
        return read(sites.SiteView, answer)

    def new_agent_token(self, name: str) -> sites.AgentSecret:
        """A new credential for the site's agent; those before it are refused at once."""
        return self._post(sites.AgentSecret, "sites", name, "agent-token")

    def revoke_agent_token(self, name: str) -> sites.AgentRefused:
        answer = self._send("DELETE", "sites", name, "agent-token", again=True)
        return read(sites.AgentRefused, answer)

    def all_terms(self, *, after: str = "", limit: int = 50) -> terms.TermsList:
        """Terms in force, by site, and when you accepted them."""
        return self._get(terms.TermsList, "terms", after=after, limit=limit)

    def terms_of(self, name: str) -> terms.TermsView:
        return self._get(terms.TermsView, "sites", name, "terms")

    def set_terms(self, name: str, version: str, text: str, url: str = "") -> terms.TermsView:
        """Put a version in force; for the site's operators."""
        said = terms.NewTerms(version=version, text=text, url=url)
        answer = self._send("PUT", "sites", name, "terms", said=said, again=True)
        return read(terms.TermsView, answer)

    def end_terms(self, name: str) -> None:
        self._send("DELETE", "sites", name, "terms", again=True)

    def accept_terms(self, name: str, version: str) -> terms.TermsView:
        said = terms.Acceptance(version=version)
        where = ("sites", name, "terms", "accept")
        return self._post(terms.TermsView, *where, said=said, again=True)

    def terms_accepted(self, name: str, *, after: str = "", limit: int = 50) -> terms.AcceptedList:
        """Who accepted which version; for the site's operators."""
        where = ("sites", name, "terms", "accepted")
        return self._get(terms.AcceptedList, *where, after=after, limit=limit)

    def add_operator(self, name: str, person: str) -> None:
        said = sites.OperatorBody(person=person)
        self._send("POST", "sites", name, "operators", said=said, again=True)

    def remove_operator(self, name: str, person: str) -> None:
        self._send("DELETE", "sites", name, "operators", person)


class Projects(Room):
    def list(self, *, after: str = "", limit: int = 50) -> identity.ProjectList:
        return self._get(identity.ProjectList, "projects", after=after, limit=limit)

    def show(self, name: str) -> identity.ProjectView:
        return self._get(identity.ProjectView, "projects", name)

    def create(self, name: str, title: str = "", lead: str | None = None) -> identity.ProjectView:
        said = identity.NewProject(name=name, title=title, lead=lead)
        return self._post(identity.ProjectView, "projects", said=said)

    def members(self, name: str, *, after: str = "", limit: int = 50) -> identity.MemberList:
        where = ("projects", name, "members")
        return self._get(identity.MemberList, *where, after=after, limit=limit)

    def add_member(
        self, name: str, person: str, role: identity.Role = "member"
    ) -> identity.MemberView:
        """Put a person into a project, or change their role there."""
        said = identity.NewMember(person=person, role=role)
        where = ("projects", name, "members")
        return self._post(identity.MemberView, *where, said=said, again=True)

    def remove_member(self, name: str, person: str) -> None:
        self._send("DELETE", "projects", name, "members", person)

    def leave(self, name: str) -> None:
        self._send("POST", "projects", name, "leave")

    def departures(self, name: str, *, after: str = "", limit: int = 50) -> roles.DepartureList:
        """Who left, and what each site confirmed; for its leads."""
        where = ("projects", name, "departures")
        return self._get(roles.DepartureList, *where, after=after, limit=limit)


class People(Room):
    def me(self) -> identity.Me:
        """Who the token is, and their projects."""
        return self._get(identity.Me, "me")

    def login_link(self, page: str = "/", person: str | None = None) -> identity.LoginLink:
        """A link that logs a browser in, once."""
        said = identity.NewLoginLink(page=page, person=person)
        # a link that got lost on the way is never used and expires by itself
        return self._post(identity.LoginLink, "login-links", said=said, again=True)

    def list(self, *, after: str = "", limit: int = 50) -> identity.PersonList:
        return self._get(identity.PersonList, "people", after=after, limit=limit)

    def create(
        self, name: str, display_name: str = "", *, admin: bool = False
    ) -> identity.PersonView:
        said = identity.NewPerson(name=name, display_name=display_name, admin=admin)
        return self._post(identity.PersonView, "people", said=said)

    def show(self, name: str) -> roles.PersonDetail:
        """A person and their roles."""
        return self._get(roles.PersonDetail, "people", name)

    def roles_of(self, person: str = "", *, after: str = "", limit: int = 50) -> roles.RoleList:
        """One's own roles; everybody's, or one person's, for auditors and administrators."""
        return self._get(roles.RoleList, "roles", person=person, after=after, limit=limit)

    def give_role(
        self, role: roles.RoleName, thing: str = "", person: str = "", organisation: str = ""
    ) -> roles.RoleView:
        """Give a role for a project, call or site by name, or for the facility."""
        said = roles.RoleBody(role=role, thing=thing, person=person, organisation=organisation)
        return self._post(roles.RoleView, "roles", said=said, again=True)

    def revoke_role(
        self, role: roles.RoleName, thing: str = "", person: str = "", organisation: str = ""
    ) -> None:
        asked = {"role": role, "thing": thing, "person": person, "organisation": organisation}
        params = {name: value for name, value in asked.items() if value}
        self._connection.call("DELETE", path("roles"), repeatable=False, params=params)

    def disable(self, name: str) -> identity.PersonView:
        return self._post(identity.PersonView, "people", name, "disable", again=True)

    def guests(self, *, after: str = "", limit: int = 50) -> identity.GuestList:
        """Who logged in by the provider and waits to be let in."""
        return self._get(identity.GuestList, "guests", after=after, limit=limit)

    def approve(self, name: str) -> identity.PersonView:
        return self._post(identity.PersonView, "people", name, "approve", again=True)

    def organisations(self, *, after: str = "", limit: int = 50) -> identity.OrganisationList:
        return self._get(identity.OrganisationList, "organisations", after=after, limit=limit)

    def add_organisation(
        self, name: str, domain: str, title: str = ""
    ) -> identity.OrganisationView:
        """Let the people of a domain in, now and from now on."""
        said = identity.NewOrganisation(name=name, domain=domain, title=title)
        return self._post(identity.OrganisationView, "organisations", said=said)

    def remove_organisation(self, name: str) -> None:
        self._send("DELETE", "organisations", name, again=True)

    def audit(self, thing: str = "", *, after: str = "", limit: int = 50) -> identity.AuditList:
        """Who did what, newest first."""
        return self._get(identity.AuditList, "audit", thing=thing, after=after, limit=limit)

    def verify_audit(self) -> identity.AuditVerified:
        return self._get(identity.AuditVerified, "audit", "verify")

    def tokens(self, *, after: str = "", limit: int = 50) -> identity.TokenList:
        return self._get(identity.TokenList, "tokens", after=after, limit=limit)

    def new_token(
        self, name: str, days: int | None = 365, person: str | None = None
    ) -> identity.TokenSecret:
        """A token for programs, one's own or (by an administrator) `person`'s; the reply holds
        its secret, shown this once."""
        said = identity.NewToken(name=name, days=days, person=person)
        return self._post(identity.TokenSecret, "tokens", said=said)

    def revoke_token(self, token: str) -> None:
        self._send("DELETE", "tokens", token, again=True)


class Ledger(Room):
    def entries(self, project: str, *, after: str = "", limit: int = 50) -> ledger.EntryList:
        """A project's entries, newest first."""
        where = ("projects", project, "entries")
        return self._get(ledger.EntryList, *where, after=after, limit=limit)

    def statement(self, project: str, month: str | None = None) -> ledger.StatementView:
        """Opening balance, what happened, closing balance; of one month, or up to now."""
        return self._get(ledger.StatementView, "projects", project, "statement", month=month)

    def owners(self, month: str) -> ledger.OwnersReply:
        """What every owner's shares were granted for and delivered in a month `YYYY-MM`."""
        return self._get(ledger.OwnersReply, "ledger", "owners", month=month)

    def close_month(self, month: str) -> None:
        """Let no further entry be dated in a month or before it. For administrators."""
        self._send("POST", "ledger", "months", month, "close", again=True)

    def verify(self) -> ledger.VerifyReply:
        """Whether the ledger adds up; no findings is good."""
        return self._get(ledger.VerifyReply, "ledger", "verify")

    def allocations(
        self, project: str | None = None, *, after: str = "", limit: int = 50
    ) -> ledger.AllocationList:
        where = ("allocations",)
        return self._get(ledger.AllocationList, *where, project=project, after=after, limit=limit)

    def award(self, award: ledger.NewAward) -> ledger.AllocationView:
        """Award a project an amount of one charged type; its key makes it one award. For
        programme officers."""
        return self._post(ledger.AllocationView, "allocations", said=award, again=True)


class Plans(Room):
    """Studies on the hub's pages, and jobs as a planner takes them."""

    def list(self, *, after: str = "", limit: int = 50) -> plans.PlanList:
        return self._get(plans.PlanList, "plans", after=after, limit=limit)

    def show(self, plan: str) -> plans.PlanDetail:
        return self._get(plans.PlanDetail, "plans", plan)

    def publish(self, new: plans.NewPlan) -> plans.PlanView:
        """Show a study whose files were uploaded; again: the same study."""
        return self._post(plans.PlanView, "plans", said=new, again=True)

    def withdraw(self, plan: str) -> None:
        self._send("DELETE", "plans", plan, again=True)

    def trace(
        self, key: str, *, site: str = "", after: str = "", limit: int = 500
    ) -> plans.TraceJobs:
        """Jobs that were placed, oldest first, in pseudonyms under `key`."""
        asked = {"site": site, "after": after, "limit": limit}
        params = {name: value for name, value in asked.items() if value}
        answer = self._connection.call(
            "GET", path("trace"), repeatable=True, params=params,
            headers={"x-pseudonym-key": key},
        )  # fmt: skip
        return read(plans.TraceJobs, answer.content)


class Store(Room):
    """Files that people and sites brought."""

    def held(self) -> StoreView:
        """How many files and bytes there are, and by what they are held."""
        return self._get(StoreView, "store")
