from __future__ import annotations

import asyncio
import os
import signal
import socket
import time

import pytest
from sqlalchemy import text

from app.domain.ports import StoreUnavailable
from app.storage import postgres
from app.storage.engine import Database
from app.storage.errors import UnsupportedDatabase
from tests.services import free_port

MY_PID = text("SELECT pg_backend_pid()")


async def backend_of(database: Database) -> int:
    return await database.read(lambda connection: connection.execute(MY_PID).scalar_one())


@pytest.mark.parametrize("url", ["postgresql://u:sec%ret@h/db", "postgres://u:secret@h/db?unknown=1"])
def test_what_the_client_does_not_understand_is_refused_without_the_url(url: str) -> None:
    with pytest.raises(UnsupportedDatabase) as refused:
        Database.open(url)
    assert "sec" not in str(refused.value)
    assert refused.value.__suppress_context__


async def test_a_closed_port_is_an_outage_without_address_or_password() -> None:
    port = free_port()
    reason = await outage_of(f"postgresql://quay:s3cret@127.0.0.1:{port}/quay", "s3cret", str(port), "127.0.0.1")
    assert reason == "Connection refused"


async def test_a_parameter_that_the_client_refuses_is_an_outage_that_says_so() -> None:
    assert await outage_of("postgresql://quay:s3cret@127.0.0.1/quay?sslmode=yes") == "invalid sslmode value"


@pytest.mark.parametrize("host", ["no-such-host.invalid", "no..host", "h" * 70])
async def test_a_host_without_an_address_is_an_outage(host: str) -> None:
    await outage_of(f"postgresql://quay:s3cret@{host}/quay", "s3cret", host)


async def test_a_server_that_never_answers_is_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        url = f"postgresql://quay:s3cret@127.0.0.1:{port}/quay?connect_timeout=2"  # libpq takes no less
        assert await outage_of(url, "s3cret", str(port)) == "ConnectionTimeout"


@pytest.mark.service
async def test_a_wrong_password_and_a_missing_database_are_outages_that_say_so(postgres: str) -> None:
    address = postgres.split("@")[1]
    reason = await outage_of(f"postgresql://quay:s3cret@{address}/postgres", "s3cret", address, "quay")
    assert reason == "FATAL:  password authentication failed for user"
    reason = await outage_of(f"{postgres}/nobody-made-this", "nobody-made-this", address)
    assert reason == "FATAL:  database does not exist"


@pytest.mark.service
async def test_the_first_host_that_answers_is_taken(postgres_url: str) -> None:
    url = postgres_url.replace("@", f"@127.0.0.1:{free_port()},")
    database = Database.open(f"{url}?target_session_attrs=read-write")
    await database.migrate()
    await database.close()


@pytest.mark.service
async def test_connections_that_died_are_replaced(postgres_url: str) -> None:
    database, other = Database.open(postgres_url), Database.open(postgres_url)
    before = await backend_of(database)
    terminate = text("SELECT pg_terminate_backend(:pid, 5000)")
    assert await other.read(lambda connection: connection.execute(terminate, {"pid": before}).scalar_one())
    assert await backend_of(database) != before
    await other.close()
    await database.close()


@pytest.mark.service
async def test_connections_that_live_are_kept(postgres_url: str) -> None:
    database = Database.open(postgres_url)
    assert len({await backend_of(database) for _ in range(20)}) == 1
    await database.close()


@pytest.mark.service
async def test_a_connection_that_dies_under_a_statement_is_an_outage(postgres_url: str) -> None:
    database = Database.open(postgres_url)
    with pytest.raises(StoreUnavailable, match="57P01"):
        await database.read(lambda c: c.execute(text("SELECT pg_terminate_backend(pg_backend_pid())")))
    await backend_of(database)
    await database.close()


@pytest.mark.service
async def test_a_statement_that_takes_too_long_is_an_outage_and_is_cancelled(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Database.open(postgres_url)
    monkeypatch.setattr(postgres, "STATEMENT_SECONDS", 0.2)
    database = Database.open(postgres_url)
    with pytest.raises(StoreUnavailable, match="57014"):
        await database.read(lambda c: c.execute(text("SELECT pg_advisory_lock(1), pg_sleep(60)")))
    await other.read(lambda c: c.execute(text("SELECT pg_advisory_xact_lock(1)")))  # would wait for the whole minute
    await other.close()
    await database.close()


@pytest.mark.service
async def test_a_server_that_hangs_gives_the_thread_back(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "STATEMENT_SECONDS", 0.2)
    database = Database.open(postgres_url)
    hung = await backend_of(database)
    os.kill(hung, signal.SIGSTOP)
    try:
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match="57014"):
            await backend_of(database)
        assert time.monotonic() - began < 3
        assert await backend_of(database) != hung
    finally:
        os.kill(hung, signal.SIGCONT)
    await database.close()


@pytest.mark.service
async def test_a_migration_may_take_longer_than_a_statement(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "STATEMENT_SECONDS", 0.2)
    database, other = Database.open(postgres_url), Database.open(postgres_url)

    def hold_the_lock() -> None:
        with other._backend.migrating():
            time.sleep(0.5)

    holding = asyncio.create_task(asyncio.to_thread(hold_the_lock))
    await asyncio.sleep(0.1)
    await database.migrate()
    assert holding.done()
    await other.close()
    await database.close()


async def outage_of(url: str, *secrets: str) -> str:
    """Why a database does not answer. The whole exception holds none of the secrets."""
    database = Database.open(url)
    with pytest.raises(StoreUnavailable) as outage:
        await database.migrate()
    await database.close()
    said = str(outage.value)
    assert not [secret for secret in secrets if secret in said]
    assert outage.value.__cause__ is None
    assert outage.value.__suppress_context__
    return said.removeprefix("the database did not answer (").removesuffix(")")
