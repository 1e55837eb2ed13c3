"""Certificates: who is believed, and who is not."""

from __future__ import annotations

import ssl

import pytest
import trustme

from app.domain.errors import FaultKind
from tests.conformance.upstream.exchanges import Connect, Pieces, ask, fault_of, summary
from tests.fakes.scripted import Peer, ScriptedUpstream, answers, answers_once, head, reply


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def served(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


@pytest.fixture
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def test_a_known_authority_is_accepted(
    connect: Connect, served: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    async with ScriptedUpstream(answers(reply(200, b"x" * 1_000_000)), tls=served, hostname="localhost") as upstream:
        client = connect(upstream.origin, ssl_context=trusting)
        for _ in range(2):
            answer = await ask(client, b"POST", body=Pieces(b"y" * 1_000_000))
            assert answer.body == b"x" * 1_000_000
        assert upstream.requests[1].body == b"y" * 1_000_000
        assert upstream.connections == 1


async def test_a_large_answer_comes_whole(connect: Connect, served: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    content = b"".join(b"%08d" % number for number in range(1024 * 1024))
    async with ScriptedUpstream(answers(reply(200, content)), tls=served, hostname="localhost") as upstream:
        client = connect(upstream.origin, ssl_context=trusting)
        for _ in range(2):
            assert (await ask(client)).body == content
        assert upstream.connections == 1


async def test_an_unknown_authority_is_refused(connect: Connect, served: ssl.SSLContext) -> None:
    async with ScriptedUpstream(answers(reply(200, b"ok")), tls=served, hostname="localhost") as upstream:
        fault = await fault_of(connect(upstream.origin))
        assert summary(fault) == (FaultKind.UNREACHABLE, False)
        assert fault.detail.startswith("TLS certificate not accepted: ")
        assert upstream.requests == []


async def test_a_certificate_of_another_host_is_refused(
    connect: Connect, served: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    async with ScriptedUpstream(answers(reply(200, b"ok")), tls=served) as upstream:
        fault = await fault_of(connect(upstream.origin, ssl_context=trusting))
        assert summary(fault) == (FaultKind.UNREACHABLE, False)
        assert fault.detail == "TLS certificate not accepted: it is for another host"
        assert upstream.requests == []


async def test_an_upstream_without_tls_is_refused(connect: Connect, trusting: ssl.SSLContext) -> None:
    async def script(peer: Peer) -> None:
        await peer.receive()
        await peer.send(reply(400, b"this is plain HTTP"))

    async with ScriptedUpstream(script) as upstream:
        fault = await fault_of(connect(upstream.origin.replace("http:", "https:"), ssl_context=trusting))
        assert summary(fault) == (FaultKind.UNREACHABLE, False)
        assert fault.detail.startswith("TLS handshake failed: ")


async def test_an_answer_cut_off_is_never_whole(
    connect: Connect, served: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    short = answers_once(head(200, length=10) + b"hello")
    async with ScriptedUpstream(short, tls=served, hostname="localhost") as upstream:
        fault = await fault_of(connect(upstream.origin, ssl_context=trusting))
        assert summary(fault) == (FaultKind.UNREACHABLE, True)


async def test_an_answer_that_ends_with_its_connection(
    connect: Connect, served: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    async with ScriptedUpstream(answers_once(head(200) + b"hello"), tls=served, hostname="localhost") as upstream:
        assert (await ask(connect(upstream.origin, ssl_context=trusting))).body == b"hello"


async def test_a_connection_closed_between_requests_is_not_used(
    connect: Connect, served: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    scripts = answers_once(reply(200, b"one")), answers(reply(200, b"two"))
    async with ScriptedUpstream(*scripts, tls=served, hostname="localhost") as upstream:
        client = connect(upstream.origin, ssl_context=trusting)
        assert (await ask(client)).body == b"one"
        assert (await ask(client)).body == b"two"


async def test_an_upstream_that_closes_as_the_handshake_ends(
    connect: Connect, served: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    """In TLS 1.2 the end of the connection can come in the same breath as the end of the handshake."""

    async def script(peer: Peer) -> None:
        return

    served.maximum_version = ssl.TLSVersion.TLSv1_2
    async with ScriptedUpstream(script, tls=served, hostname="localhost") as upstream:
        client = connect(upstream.origin, ssl_context=trusting, read=2)
        for _ in range(10):
            assert (await fault_of(client)).kind is FaultKind.UNREACHABLE
