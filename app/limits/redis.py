"""Counting in Redis, for all processes that share it.

What is asked within one turn of the event loop, and while an answer is on its way, goes out together: one round trip
and one run of a script, however many requests. Scripts are in `script.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import uuid4

from app.domain.limiting import Ask, Verdict
from app.limits.link import CONNECT_SECONDS, Link
from app.limits.script import JUDGE, TEND, Script, batch, tending, verdicts

LEASE_SECONDS: Final = 15.0
"""How long a parallel slot outlives a process that was killed."""
MAX_BATCH: Final = 256
"""How many requests are judged in one run of the script: a few milliseconds of Redis' time at most."""
GIVE_BACK_SECONDS: Final = 0.002
"""How long slots that are given back wait for a batch that takes them along: a request that comes alone would pay a
second round trip for them, 85 µs."""
_SLICES: Final = 5
_PROCESSES: Final = "processes"


class Unreachable(Exception):
    """Redis did not answer in time, or not what it should. The message says what happened, without an address."""


class _Waiting(NamedTuple):
    """A request that is about to be judged."""

    asks: Sequence[Ask]
    lease_id: str
    answer: asyncio.Future[Verdict]


class RedisLimiter:
    """Counters that processes share.

    Once Redis was late it is not asked again until `tend` has reached it: `is_up` says so, and nobody waits. `tend` is
    to be called at least every third of `lease_seconds`.
    """

    def __init__(
        self, url: str, *, timeout_seconds: float, lease_seconds: float = LEASE_SECONDS, process: str | None = None
    ) -> None:
        self.is_up = False
        self._loop = asyncio.get_running_loop()
        self._link = Link(url)
        self._slice_seconds = timeout_seconds / _SLICES
        self._lease_ms = int(lease_seconds * 1000)
        self._process = process or uuid4().hex
        self._waiting: list[_Waiting] = []
        self._leases: dict[str, tuple[str, ...]] = {}
        """The slots that live requests hold: their counters, by lease."""
        self._unsent: set[str] = set()
        """Leases of which Redis has not heard."""
        self._given_back: dict[str, tuple[str, ...]] = {}
        """What Redis is to be told next."""
        self._giving_back: asyncio.TimerHandle | None = None
        self._is_due = False
        """Whether it is to be told now."""
        self._last_answer_at = self._loop.time()
        self._turn = asyncio.Lock()
        self._sending: asyncio.Task[None] | None = None

    async def judge(self, asks: Sequence[Ask], lease_id: str) -> Verdict:
        """Count one request against all of these, or against none. Raises Unreachable."""
        if not self.is_up:
            raise Unreachable("away")
        answer: asyncio.Future[Verdict] = self._loop.create_future()
        self._waiting.append(_Waiting(asks, lease_id, answer))
        self._send_soon()
        try:
            return await answer
        except asyncio.CancelledError:  # it may be judged already
            self.release(lease_id)
            raise

    def adopt(self, asks: Sequence[Ask], lease_id: str) -> None:
        """Tell Redis, when it is back, of slots that were taken without it."""
        if counters := _slots(asks):
            self._leases[lease_id] = counters
            if self._given_back.pop(lease_id, None) is None:  # else Redis may have heard of it
                self._unsent.add(lease_id)

    def release(self, lease_id: str) -> None:
        """Give the slots of a lease back, in the background; what is not held is no error."""
        counters = self._leases.pop(lease_id, ())
        if lease_id in self._unsent:
            self._unsent.discard(lease_id)
        elif counters:
            self._give_back(counters, lease_id)

    async def tend(self) -> int:
        """Keep this process and its leases alive, and reach Redis where it was away; returns how many processes live.

        Raises Unreachable.
        """
        if self._loop.time() - self._last_answer_at > self._lease_ms / 1000:
            self._given_back.clear()  # Redis has forgotten them by itself
        async with self._turn:
            self._unsent.clear()
            said = tending(_pairs(self._leases), process=self._process, lease_ms=self._lease_ms)
            seconds = self._slice_seconds if self.is_up else CONNECT_SECONDS / _SLICES
            processes = int(await self._run(TEND, said, seconds, _SLICES))
        self.is_up = True
        if self._given_back:
            self._give_back_now()
        return processes

    async def aclose(self) -> None:
        """Give back what is held, and say good-bye to the other processes."""
        for lease_id in list(self._leases):
            self.release(lease_id)
        if self.is_up:
            self._give_back((_PROCESSES,), self._process)
            self._give_back_now()
        if self._sending is not None:
            await self._sending
        if self._giving_back is not None:
            self._giving_back.cancel()
        self.is_up = False  # what is given back later ends with its lease
        await self._link.aclose()

    def _give_back(self, counters: tuple[str, ...], lease_id: str) -> None:
        """Tell Redis with the next batch, or soon."""
        self._given_back[lease_id] = counters
        if self._giving_back is None and self.is_up:
            self._giving_back = self._loop.call_later(GIVE_BACK_SECONDS, self._give_back_now)

    def _give_back_now(self) -> None:
        self._giving_back = None
        if self._given_back and self.is_up:
            self._is_due = True
            self._send_soon()

    def _send_soon(self) -> None:
        if self._sending is None:
            self._sending = self._loop.create_task(self._send_all(), name="limits.send")

    async def _send_all(self) -> None:
        """Send batch after batch, as long as there is something to say."""
        slices = _SLICES
        try:
            while self.is_up and (self._waiting or self._is_due):
                self._is_due = False
                waiting = [one for one in self._waiting[:MAX_BATCH] if not one.answer.done()]
                self._waiting = self._waiting[MAX_BATCH:]
                given_back, self._given_back = self._given_back, {}
                try:
                    # Who waits in the second batch has waited for the first.
                    slices = max(1, await self._send(waiting, given_back, slices))
                except Unreachable as outage:
                    self._given_back = given_back | self._given_back
                    self._fail(waiting, outage)
            if not self.is_up:  # `tend` found that out: nobody who came before may be left waiting
                self._fail([], Unreachable("away"))
        finally:
            self._sending = None

    async def _send(self, waiting: list[_Waiting], given_back: dict[str, tuple[str, ...]], slices: int) -> int:
        """Have a batch judged; returns how many slices of time were left. Raises Unreachable."""
        asked = [(asks, lease_id) for asks, lease_id, _ in waiting]
        said = batch(asked, _by_counters(given_back), lease_ms=self._lease_ms)
        async with self._turn:
            began_at = self._loop.time()
            answer = await self._run(JUDGE, said, self._slice_seconds, slices)
        try:
            judged = verdicts([asks for asks, _ in asked], answer)
        except ValueError as error:
            self.is_up = False
            raise Unreachable(str(error)) from None
        slots: dict[int, tuple[str, ...]] = {}  # by what is asked: requests of one principal share the tuple
        for (asks, lease_id, waits), verdict in zip(waiting, judged, strict=True):
            counters = slots.get(id(asks))
            if counters is None:
                counters = slots[id(asks)] = _slots(asks)
            is_held = bool(counters) and verdict.refusal is None
            if not waits.done():
                if is_held:
                    self._leases[lease_id] = counters
                waits.set_result(verdict)
            elif is_held:
                self._give_back(counters, lease_id)
        used = (self._loop.time() - began_at) // self._slice_seconds
        return _SLICES - min(_SLICES, int(used))

    def _fail(self, sent: list[_Waiting], outage: Unreachable) -> None:
        """Tell everybody who waits. What was sent may have been counted all the same, so its slots are given back."""
        unsent, self._waiting = self._waiting, []
        for one in sent:
            if counters := _slots(one.asks):
                self._given_back[one.lease_id] = counters
        for one in (*sent, *unsent):
            if not one.answer.done():
                one.answer.set_exception(Unreachable(str(outage)))

    async def _run(self, script: Script, argument: bytes, slice_seconds: float, slices: int) -> Any:
        """What a script returns. Raises Unreachable.

        Time is counted in slices in which this process looked: one that is itself late does not blame Redis.
        """
        looking: asyncio.TimerHandle

        def look(left: int) -> None:
            nonlocal looking
            if left:
                looking = self._loop.call_later(slice_seconds, look, left - 1)
            else:
                patience.reschedule(self._loop.time())

        looking = self._loop.call_later(slice_seconds, look, slices - 1)
        try:
            async with asyncio.timeout(None) as patience:
                answer = await self._link.run(script, argument)
        except Exception as error:  # whatever it is, nobody may be left waiting
            self.is_up = False
            raise Unreachable(type(error).__name__) from None
        finally:
            looking.cancel()
        self._last_answer_at = self._loop.time()
        return answer


def _slots(asks: Sequence[Ask]) -> tuple[str, ...]:
    return tuple(ask.counter for ask in asks if ask.is_parallel)


def _pairs(leases: Mapping[str, tuple[str, ...]]) -> list[tuple[str, str]]:
    """Each counter with the lease that holds a slot of it."""
    return [(counter, lease_id) for lease_id, counters in leases.items() for counter in counters]


def _by_counters(leases: Mapping[str, tuple[str, ...]]) -> dict[tuple[str, ...], list[str]]:
    """The leases that hold slots of the same counters."""
    found: dict[tuple[str, ...], list[str]] = {}
    for lease_id, counters in leases.items():
        found.setdefault(counters, []).append(lease_id)
    return found
