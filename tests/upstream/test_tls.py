from __future__ import annotations

import asyncio
import ssl

from app.upstream.tls import Trust


async def test_the_given_context_is_used() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    assert await Trust(context).context() is context


async def test_the_default_verifies_and_is_read_once() -> None:
    trust = Trust(None)
    first, *others = await asyncio.gather(*(trust.context() for _ in range(5)))
    assert first.verify_mode is ssl.CERT_REQUIRED
    assert first.check_hostname
    assert all(other is first for other in others)
