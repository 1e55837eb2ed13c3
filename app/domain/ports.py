"""The hard boundaries of the data plane, as the phases see them. Adapters are named in `app/main.py` only."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from app.domain.containers import Access, Answer, Container, Creation, Ending, Ownership, Sighting
from app.domain.spending import Crossing, Order
from app.domain.stores import Deed

RawHeaders = list[tuple[bytes, bytes]]
"""Header names and values as bytes; names lower-case. A name may stand more than once."""

Piece = bytes | memoryview
"""A piece of an answer's body. Nobody writes to what a memoryview shows for as long as somebody holds it."""

OutgoingBody = bytes | AsyncIterator[bytes] | None
"""A request body: whole, or in pieces of at least one byte each, or none at all (None, which is not b"")."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long an upstream may take for each step. None of them limits a whole transfer."""

    connect_seconds: float = 5.0
    """Resolving the name, connecting and the TLS handshake, together."""
    read_seconds: float = 600.0
    """The longest silence while the upstream owes us bytes."""
    write_seconds: float = 60.0
    """The longest time for which the upstream takes no byte of the request."""
    pool_seconds: float = 10.0
    """Waiting for a free connection."""
    keepalive_seconds: float = 4.0
    """A connection that was idle for longer is closed rather than used again."""


class UpstreamReply(Protocol):
    """An upstream's answer whose head has arrived and whose body is still to be read.

    Whoever holds one must call `aclose`, also after an error; it may be called twice.
    """

    status: int
    headers: RawHeaders

    async def read(self) -> Piece:
        """The next piece of the body, b"" at its end (and from then on).

        Content-Length and chunked framing are already taken off and have been verified when b"" is returned. Memory is
        bounded: what is not read is not taken from the upstream.

        Raises UpstreamFault where the upstream breaks off, breaks the framing or is silent for too long.
        """
        ...

    def at_hand(self) -> bytes | None:
        """The rest of the body where all of it has arrived, which spares reading it; None where it has to be read.

        The upstream is let go of with it: there is nothing more to read, nor to close.
        """
        ...

    async def aclose(self) -> None:
        """Let go: the connection is used again if the exchange ended cleanly, and dropped otherwise."""
        ...


class Upstream(Protocol):
    """A pooled client of one origin (scheme, host and port), which also verifies its certificate."""

    async def send(self, method: bytes, target: bytes, headers: RawHeaders, body: OutgoingBody = None) -> UpstreamReply:
        """Send one request and return when the head of the final answer is here (1xx are skipped).

        `target` is the path and query exactly as it goes on the wire (b"/v1/containers?limit=1"). `headers` go out as
        they are, in order; `host` and the framing are the adapter's: `content-length` for bytes, chunked for an
        iterator unless `headers` hold a `content-length`, and nothing for None except `content-length: 0` on POST.
        An upstream may answer before it has taken the whole body: the reply is returned at once, and the rest of the
        body is sent for as long as the upstream takes it.

        Raises UpstreamFault, or whatever the body's iterator raised (the request is then cut off, so the upstream
        never takes half a body for a whole one). The iterator is closed in every case.
        """
        ...

    async def aclose(self) -> None:
        """Close every connection. Replies still being read fail."""
        ...


class StoreUnavailable(Exception):
    """The database did not answer. The message never holds its address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerQuery:
    """Which page of whose containers. They are ordered by `created_at`, then by when they were registered."""

    owner: str
    identities: tuple[str, ...] = ()
    """What is shared with any of these names is on the page too."""
    deployments: frozenset[str] | None = None
    """Only those that live in one of these; None for everywhere."""
    name: str | None = None
    after: str | None = None
    """The id of the container that stands right before the page."""
    limit: int = 20
    descending: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerFilter:
    """Which containers an operator asks for. None asks for nothing in particular."""

    owner: str | None = None
    unowned: bool = False
    """Only those that are nobody's."""
    deployment: str | None = None
    status: str | None = None
    """As `Container.status_at` says it."""
    key_ids: frozenset[str] | None = None
    """Made by one of these virtual keys."""
    created_before: datetime | None = None
    idle_since: datetime | None = None
    """Last active before this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerRecord:
    """Everything the registry knows of a container."""

    container: Container
    shares: Mapping[str, Access]
    files: int
    """Files in it, as far as they were seen."""
    bytes: int
    """Their sizes together, where the upstream said them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenFile:
    """A container file as an upstream described it."""

    container_id: str
    file_id: str
    bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observations:
    """What answers on their way down told about containers, to be written down together.

    Whatever is not registered is passed over, and what is older than what is known changes nothing.
    """

    sightings: Sequence[Sighting] = ()
    active: Mapping[str, datetime] = field(default_factory=dict)
    """By container id, when a request for it last succeeded."""
    files_seen: Sequence[SeenFile] = ()
    files_removed: Sequence[tuple[str, str]] = ()
    """Container id and file id."""
    files_listed: Mapping[str, Sequence[SeenFile]] = field(default_factory=dict)
    """By container id, all the files that are in it."""


class ContainerStore(Protocol):
    """Where the registry lives. Every method may raise StoreUnavailable."""

    async def ownership(self, container_id: str) -> Ownership | None:
        """Whose a container is and where it lives, whoever asks."""
        ...

    async def accessible(self, container_id: str, owner: str, identities: Sequence[str]) -> Ownership | None:
        """The same for a container that is `owner`'s, or shared with one of `identities`.

        None for somebody else's, which takes the database as long as one that does not exist.
        """
        ...

    async def changed_ownerships(self, since: datetime | None) -> tuple[list[Ownership], datetime]:
        """Those adopted, shared or unshared since then, and what to ask with the next time.

        Times are the database's own, so that clocks of several machines need not agree. None asks for nothing but
        the time. Changes that were being made at that time are told again rather than missed.
        """
        ...

    async def file_home(self, file_id: str) -> str | None:
        """The id of the container that this file was last seen in."""
        ...

    async def page(self, query: ContainerQuery) -> tuple[list[Container], bool]:
        """One page of those that were neither deleted nor are gone, and whether more follow. Raises UnknownCursor."""
        ...

    async def record(self, container_id: str) -> ContainerRecord | None:
        """Everything about one container."""
        ...

    async def records(
        self, wanted: ContainerFilter, *, now: datetime, offset: int, limit: int
    ) -> tuple[list[ContainerRecord], int]:
        """One page of those that an operator asks for, newest first, and how many there are in all."""
        ...

    async def registered(self, container_ids: Sequence[str]) -> set[str]:
        """Which of these ids are registered, deleted ones included."""
        ...

    async def adopt(self, container: Container, deed: Deed | None = None) -> None:
        """Register a container under an owner or nobody, also where it was registered under another. Its shares go."""
        ...

    async def share(self, container_id: str, identity: str, access: Access | None, deed: Deed | None = None) -> bool:
        """Share a container, or with None stop sharing it; False where it is not registered, or was not shared."""
        ...

    async def end(
        self, container_id: str, ending: Ending, at: datetime, request_id: str | None = None, *, asked: bool = False
    ) -> int:
        """Write down that a container is no more. DELETED is final, GONE is taken back by the next sighting.

        What is held for a container that is DELETED is settled with it: returns what that spent, in nano-USD. So it is
        for one that is GONE where somebody `asked` to delete it; without that it is paid for until it would have
        expired, as it may yet be seen again.
        """
        ...

    async def observe(self, seen: Observations) -> None:
        """Write down what answers told."""
        ...

    async def oldest_alive(self, deployment: str, now: datetime) -> datetime | None:
        """When the oldest container was made that lives there as far as is known; None where there is none."""
        ...

    async def end_unseen(self, deployment: str, *, seen_before: datetime, created: tuple[datetime, datetime]) -> int:
        """End as GONE what was made there between two times and was last seen before a third; how many those were."""
        ...

    async def take_turn(self, name: str, every_seconds: float) -> bool:
        """Whether this process is to do a chore that one of them does, at most once every so many seconds."""
        ...

    async def purge(self, *, dead_before: datetime, begun_before: datetime) -> int:
        """Forget containers that ended or expired before a time, and creations that began before another.

        Creations that are still pending stay. Returns how many rows went.
        """
        ...


class CreationStore(Protocol):
    """Where intents to make containers are written down. Every method may raise StoreUnavailable."""

    async def begin(
        self, creation: Creation, order: Order, *, same_key_since: datetime, lost_since: datetime | None = None
    ) -> Creation | tuple[Crossing, ...]:
        """Commit an intent and the money held for it. Returns the limits that it crossed, mostly none,
        or the earlier creation that stands in its place; then nothing is written.

        Raises NoRoom where an account has none; then nothing is written either.

        That is the one of the same owner with the same idempotency key that began at `same_key_since` or later (an
        older one is forgotten); else, where `lost_since` is given, the oldest of the same key id and fingerprint that
        began since then, did not fail and whose answer was lost. That one is lost no longer: it is found once.
        """
        ...

    async def get(self, creation_id: str) -> Creation | None:
        """The creation with this id."""
        ...

    async def move(self, creation_id: str, deployment: str) -> None:
        """Commit that it is sent to another deployment now."""
        ...

    async def complete(self, creation_id: str, container: Container, answer: Answer) -> int:
        """Register the container that was made, and the answer, as one step. May be done twice.

        The least that it costs is settled with it: returns that, in nano-USD. From now on its own lifetime counts.
        Raises ContainerTaken where another owner's living container has its id; then nothing is written.
        """
        ...

    async def fail(self, creation_id: str, answer: Answer | None) -> None:
        """Write down that nothing was made, with what was answered; without an answer it is forgotten altogether.

        What was held for it is released with it.
        """
        ...

    async def give_up(self, creation_id: str, at: datetime, answer: Answer | None = None) -> None:
        """Stop answering for one that may have been made or not; it stays pending, and its lease ends at this time.

        An answer that its client got is kept for whoever asks the same again.
        """
        ...

    async def set_lost(self, creation_id: str) -> None:
        """Write down that its client did not get the answer."""
        ...

    async def renew(self, creation_ids: Sequence[str], lease_until: datetime) -> None:
        """Go on answering for creations that are pending."""
        ...

    async def pending(self, deployment: str | None = None) -> list[Creation]:
        """Those whose end is not known, the oldest first, whether or not their lease goes on."""
        ...


class UnknownCursor(Exception):
    """A page was asked for after a container that is not in that list."""


class ContainerTaken(Exception):
    """An upstream says it made a container whose id is another owner's."""
