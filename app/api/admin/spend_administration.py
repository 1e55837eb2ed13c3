"""What an operator asks the ledger."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any, Final

from app.api.admin.named_keys import find_key_id
from app.api.admin.outages import store_answers
from app.api.admin.spend_models import EntryPage, EntryView, ListSpend, Report, ReportSpend, SpendFilter
from app.domain.errors import ErrorCode, GatewayError
from app.domain.money import to_usd, usd_text
from app.domain.reports import EntryFilter, Grouping, ReportLine, SpendReports
from app.domain.spending import Entry
from app.domain.stores import KeyStore

_DATABASE: Final = "The ledger's database"
_FORMULAS: Final = ("=", "+", "-", "@", "\t", "\r")


class SpendAdministration:
    """Shows entries and reports.

    Every method may raise GatewayError INVALID_VALUE, KEY_NOT_FOUND and STORE_UNAVAILABLE.
    """

    def __init__(self, reports: SpendReports, keys: KeyStore) -> None:
        self._reports = reports
        self._keys = keys

    async def entries(self, wanted: ListSpend) -> EntryPage:
        """One page of the ledger."""
        with store_answers(_DATABASE):
            found, has_more = await self._reports.entries(
                await self._filter(wanted),
                after=wanted.after,
                limit=wanted.limit,
                descending=wanted.order == "desc",
            )
        data = [_view(entry) for entry in found]
        return EntryPage(
            data=data,
            first_id=data[0].id if data else None,
            last_id=data[-1].id if data else None,
            has_more=has_more,
        )

    async def report(self, wanted: ReportSpend) -> Report:
        """What was spent, in groups."""
        lines, has_more = await self._lines(wanted)
        names = [grouping.value for grouping in wanted.group_by]
        data = [
            dict(zip(names, line.group, strict=True))
            | {"spend": to_usd(line.spent_nanousd), "containers": line.containers}
            for line in lines
        ]
        return Report(group_by=names, data=data, has_more=has_more)

    async def csv(self, wanted: ReportSpend) -> tuple[str, bool]:
        """The same for a spreadsheet, which must not take a name for a formula; and whether there are more lines."""
        lines, has_more = await self._lines(wanted)
        return as_csv(wanted.group_by, lines), has_more

    async def _lines(self, wanted: ReportSpend) -> tuple[list[ReportLine], bool]:
        with store_answers(_DATABASE):
            return await self._reports.report(await self._filter(wanted), wanted.group_by, limit=wanted.limit)

    async def _filter(self, wanted: SpendFilter) -> EntryFilter:
        key = _one_of("key", wanted.key, "api_key", wanted.api_key)
        user_id = _one_of("user_id", wanted.user_id, "internal_user_id", wanted.internal_user_id)
        since, until = wanted.start_date, wanted.end_date
        if since is not None and until is not None and since >= until:
            raise GatewayError(ErrorCode.INVALID_VALUE, "'end_date' must be later than 'start_date'.", param="end_date")
        return EntryFilter(
            key_id=None if key is None else await find_key_id(self._keys, key),
            user_id=user_id,
            team_id=wanted.team_id,
            tag=wanted.tag,
            container_id=wanted.container_id,
            request_id=wanted.request_id,
            since=since,
            until=until,
        )


def as_csv(groupings: Sequence[Grouping], lines: Sequence[ReportLine]) -> str:
    """A report as RFC 4180 has it: a head, then a row for each line, amounts in dollars, exactly."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([*(grouping.value for grouping in groupings), "spend_usd", "containers"])
    for line in lines:
        names = (_cell(name) for name in line.group)
        writer.writerow([*names, usd_text(line.spent_nanousd), line.containers])
    return text.getvalue()


def _one_of(name: str, value: str | None, synonym: str, other: str | None) -> str | None:
    """What was given by one name or the other. Raises GatewayError INVALID_VALUE where it was by both."""
    if value is not None and other is not None:
        raise GatewayError(ErrorCode.INVALID_VALUE, f"Give only one of '{name}' and '{synonym}'.", param=synonym)
    return other if value is None else value


def _cell(name: str | None) -> str:
    """A name as a spreadsheet shows it: what looks like the start of a formula gets an apostrophe in front."""
    if name is None:
        return ""
    return f"'{name}" if name.lstrip(" \n").startswith(_FORMULAS) else name


def _view(entry: Entry) -> EntryView:
    return EntryView(
        id=entry.number,
        at=entry.at,
        kind=entry.kind.value,
        spend=to_usd(entry.spent_nanousd),
        reserved=to_usd(entry.reserved_nanousd),
        container_id=entry.container_id,
        key_id=entry.key_id,
        user_id=entry.user_id,
        team_id=entry.team_id,
        tags=list(entry.tags),
        provider=entry.provider,
        deployment=entry.deployment,
        memory_limit=entry.memory_limit,
        request_id=entry.request_id,
    )


def by_name(report: Report, name: str, shown_as: str, spend_as: str = "spend") -> list[dict[str, Any]]:
    """A report's lines under the names that LiteLLM gives them."""
    return [{shown_as: line[name], spend_as: line["spend"], "log_count": line["containers"]} for line in report.data]
