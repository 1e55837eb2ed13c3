"""`quaymaster db`: whether what the database has written down holds together. It needs no running gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from app.commands.exits import CommandError, ExitCode, ending, tell
from app.commands.here import Config, settings_here
from app.commands.invocation import group_of
from app.commands.output import show_json

if TYPE_CHECKING:
    from app.domain.stores import AuditVerdict

T = TypeVar("T")

AsJson = Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")]

commands = group_of("Operators: see whether the database's books hold together.")


@commands.command("verify-audit")
def verify_audit(config: Config = None, as_json: AsJson = False) -> None:
    """Prove that nobody changed, removed or added a row of the audit log. Exits 1 where somebody did."""
    settings = settings_here(config)
    from app.verify import audit_verdict

    with ending():
        verdict = _answer(audit_verdict(settings))
        show_json(asdict(verdict)) if as_json else _show_verdict(verdict)
        if verdict.broken_at is not None:
            raise typer.Exit(ExitCode.FAILED)


@commands.command("verify-ledger")
def verify_ledger(config: Config = None, as_json: AsJson = False) -> None:
    """Add up the whole ledger, and compare with balances and holds. Exits 1 where they do not agree."""
    settings = settings_here(config)
    from app.verify import ledger_discrepancies

    with ending():
        found = _answer(ledger_discrepancies(settings))
        if as_json:
            show_json({"discrepancies": found})
        else:
            for line in found:
                print(line)
            print(f"what does not agree: {len(found)}" if found else "The books agree.")
        if found:
            raise typer.Exit(ExitCode.FAILED)


def _show_verdict(verdict: AuditVerdict) -> None:
    print(f"rows that are whole: {verdict.rows}")
    if verdict.broken_at is not None:
        print(f"the first that is not: {verdict.broken_at}")
    elif verdict.head is not None:
        print(f"hash of the last: {verdict.head}")
        tell("The log is whole up to there. Only who has kept this hash elsewhere sees that later rows were removed.")


def _answer(question: Coroutine[Any, Any, T]) -> T:
    """What the database answers. Raises CommandError where it does not."""
    from app.domain.ports import StoreUnavailable
    from app.storage.errors import UnsupportedDatabase

    try:
        return asyncio.run(question)
    except (StoreUnavailable, UnsupportedDatabase) as error:
        raise CommandError(str(error)) from None
