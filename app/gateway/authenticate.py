"""Before the phases: from a credential to the principal behind it.

`Authenticator.cached` answers nearly every request: no await, no database, about a microsecond. What it cannot answer
goes to `authenticate`, which reads the database at most once per key however many ask at once.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256
from hmac import compare_digest
from math import inf
from typing import Final

from app.domain.errors import ErrorCode, GatewayError
from app.domain.identity import MASTER, Holder, Principal
from app.domain.keys import KEY_ID_LENGTH, PREFIX, hash_secret, parse
from app.domain.ports import StoreUnavailable
from app.domain.stores import KeyStore

_ID: Final = slice(len(PREFIX), len(PREFIX) + KEY_ID_LENGTH)
_STEM_LENGTH: Final = len(PREFIX) + KEY_ID_LENGTH + 1
_STEM: Final = slice(_STEM_LENGTH)
_SECRET: Final = slice(_STEM_LENGTH, None)


class _Known:
    """What the phase needs of a key, its user and its team, as the store last told it.

    Times are unix seconds. `usable_until` ends the fast path: the past for a blocked key, else the key's own end or
    the moment when this is too old to rely on.
    """

    __slots__ = (
        "blocked",
        "expires_at",
        "loaded_at",
        "previous_expires_at",
        "previous_secret_hash",
        "principal",
        "refresh_at",
        "secret_hash",
        "stale_at",
        "usable_until",
    )

    def __init__(self, holder: Holder, loaded_at: float, max_age: float, max_stale: float) -> None:
        key = holder.key
        self.principal = Principal.of(holder)
        self.secret_hash = key.secret_hash
        self.previous_secret_hash = key.previous_secret_hash
        self.previous_expires_at = key.previous_expires_at.timestamp() if key.previous_expires_at else -inf
        self.blocked = _what_is_blocked(holder)
        self.expires_at = key.expires_at.timestamp() if key.expires_at else inf
        self.loaded_at = loaded_at
        self.refresh_at = loaded_at + max_age
        self.stale_at = loaded_at + max_stale
        self.usable_until = -inf if self.blocked else min(self.expires_at, self.stale_at)

    def admit(self, secret_hash: bytes, now: float) -> Principal:
        """The principal, if this secret opens the key at this time; only who has the secret learns why not.

        Raises GatewayError INVALID_API_KEY, EXPIRED_API_KEY, BLOCKED_API_KEY.
        """
        if not compare_digest(secret_hash, self.secret_hash):
            if self.previous_secret_hash is None or not compare_digest(secret_hash, self.previous_secret_hash):
                raise _unknown_key()
            if now >= self.previous_expires_at:
                raise GatewayError(ErrorCode.EXPIRED_API_KEY, "This API key has been replaced by a newer one.")
        if self.blocked is not None:
            raise GatewayError(ErrorCode.BLOCKED_API_KEY, f"{self.blocked} is blocked.")
        if now >= self.expires_at:
            raise GatewayError(ErrorCode.EXPIRED_API_KEY, "This API key has expired.")
        return self.principal


class Authenticator:
    """Knows the master key and, through the store, every virtual key.

    What the store said is used for `max_age_seconds` and then, for as long as the key is in use, read again in the
    background while requests go on; nothing older than `max_stale_seconds` is ever used. So a change made by another
    process is seen within the first of these under traffic, and a silent database is forgiven for the second.
    Changes made by this process take effect at once: whoever makes one calls `forget`.

    At most `capacity` keys are remembered, and as many ids that turned out to be nobody's, for `unknown_seconds`.
    Secrets are never kept, only their SHA-256. `clock` gives unix seconds.
    """

    def __init__(
        self,
        store: KeyStore,
        master_key: str,
        clock: Callable[[], float] = time.time,
        *,
        max_age_seconds: float = 2.0,
        max_stale_seconds: float = 60.0,
        unknown_seconds: float = 5.0,
        capacity: int = 100_000,
    ) -> None:
        if not master_key:
            raise ValueError("the master key is empty")
        self._store = store
        self._master = sha256(master_key.encode()).digest()
        self._clock = clock
        self._max_age = max_age_seconds
        self._max_stale = max_stale_seconds
        self._unknown_seconds = unknown_seconds
        self._capacity = capacity
        # These three are by what a key begins with, `sk-qm-<key id>-`: whatever begins otherwise is not found.
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._unknown: OrderedDict[bytes, float] = OrderedDict()
        self._loads: dict[bytes, asyncio.Task[StoreUnavailable | None]] = {}
        self._tasks: set[asyncio.Task[StoreUnavailable | None]] = set()

    def cached(self, credential: bytes) -> Principal | None:
        """The principal, where it can be told without waiting; None says nothing yet: ask `authenticate`."""
        stem = credential[_STEM]
        known = self._known.get(stem)
        if known is None:
            return MASTER if compare_digest(sha256(credential).digest(), self._master) else None
        now = self._clock()
        if (
            not compare_digest(sha256(credential[_SECRET]).digest(), known.secret_hash)
            or now < known.loaded_at
            or now >= known.usable_until
        ):
            return None
        if now >= known.refresh_at:
            self._refresh(stem, known, now)
        self._known.move_to_end(stem)
        return known.principal

    async def authenticate(self, credential: bytes) -> Principal:
        """The principal of a credential.

        Raises GatewayError: INVALID_API_KEY, EXPIRED_API_KEY, BLOCKED_API_KEY, STORE_UNAVAILABLE. No message holds any
        of the credential.
        """
        if compare_digest(sha256(credential).digest(), self._master):
            return MASTER
        parsed = parse(credential.decode("latin-1"))
        known = await self._find(_stem(parsed.key_id)) if parsed else None
        if parsed is None or known is None:
            raise _unknown_key()
        return known.admit(hash_secret(parsed.secret), self._clock())

    def forget(self, key_id: str) -> None:
        """Read this key anew before it is used again; readings that are under way no longer count."""
        stem = _stem(key_id)
        self._known.pop(stem, None)
        self._unknown.pop(stem, None)
        self._loads.pop(stem, None)

    def forget_user(self, user_id: str) -> None:
        """Read all the keys of this user anew before they are used again."""
        self._forget_where(lambda principal: principal.user_id == user_id)

    def forget_team(self, team_id: str) -> None:
        """Read all the keys of this team anew before they are used again."""
        self._forget_where(lambda principal: principal.team_id == team_id)

    async def aclose(self) -> None:
        """Stop reading; whoever still waits is cancelled."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget_where(self, is_meant: Callable[[Principal], bool]) -> None:
        for stem in [stem for stem, known in self._known.items() if is_meant(known.principal)]:
            del self._known[stem]
        self._loads.clear()  # whose keys those are nobody knows yet: they are read once more

    async def _find(self, stem: bytes) -> _Known | None:
        """The key as remembered, else as the store has it; None for nobody's. Raises GatewayError STORE_UNAVAILABLE.

        A reading's result is taken from memory, never from its task: `forget` may have come in between.
        """
        while True:
            now = self._clock()
            known = self._known.get(stem)
            if known is not None and known.loaded_at <= now < known.stale_at:
                if now >= known.refresh_at:
                    self._refresh(stem, known, now)
                return known
            missed_at = self._unknown.get(stem, inf)
            if missed_at <= now < missed_at + self._unknown_seconds:
                return None
            outage = await asyncio.shield(self._loads.get(stem) or self._start(stem))
            if outage is not None:
                raise GatewayError(
                    ErrorCode.STORE_UNAVAILABLE, "The database of keys did not answer.", retry_after_seconds=1
                ) from outage

    def _refresh(self, stem: bytes, known: _Known, now: float) -> None:
        """Read a key again in the background, once per turn whatever comes of it."""
        known.refresh_at = now + self._max_age
        if stem not in self._loads:
            self._start(stem)

    def _start(self, stem: bytes) -> asyncio.Task[StoreUnavailable | None]:
        task = asyncio.create_task(self._load(stem), name="authenticate.load")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._loads[stem] = task
        return task

    async def _load(self, stem: bytes) -> StoreUnavailable | None:
        """Read a key and remember what the store said, unless `forget` came first; returns why there is no answer."""
        this = asyncio.current_task()
        began_at = self._clock()
        try:
            holder = await self._store.holder(stem[_ID].decode())
        except StoreUnavailable as outage:
            return outage
        else:
            if self._loads.get(stem) is this:
                self._remember(stem, holder, began_at)
            return None
        finally:
            if self._loads.get(stem) is this:
                del self._loads[stem]

    def _remember(self, stem: bytes, holder: Holder | None, began_at: float) -> None:
        if holder is None:
            self._known.pop(stem, None)
            self._unknown[stem] = self._clock()
        else:
            self._known[stem] = _Known(holder, began_at, self._max_age, self._max_stale)
        for remembered in (self._known, self._unknown):
            if len(remembered) > self._capacity:
                remembered.popitem(last=False)


def _stem(key_id: str) -> bytes:
    """What a key begins with, before its secret."""
    return f"{PREFIX}{key_id}-".encode()


def _what_is_blocked(holder: Holder) -> str | None:
    """What an operator blocked, as its client is told; None where nothing is."""
    if not holder.is_blocked:
        return None
    if holder.key.blocked:
        return "This API key"
    return "This API key's team" if holder.team is not None and holder.team.blocked else "This API key's user"


def _unknown_key() -> GatewayError:
    return GatewayError(ErrorCode.INVALID_API_KEY, "This API key is not known here.")
