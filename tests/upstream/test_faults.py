from __future__ import annotations

import errno
import socket
import ssl

import pytest

from app.domain.errors import FaultKind
from app.upstream.faults import connect_fault

ADDRESS = "10.0.0.7"


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, f"Connect call failed ('{ADDRESS}', 1)"), "connection refused"),
        (ConnectionResetError(errno.ECONNRESET, ADDRESS), "connection reset by peer"),
        (OSError(errno.ENETUNREACH, ADDRESS), "network is unreachable"),
        (OSError(f"Multiple exceptions: {ADDRESS}"), "not connected"),
        (ConnectionResetError(ADDRESS), "not connected"),
        (socket.gaierror(socket.EAI_NONAME, f"unknown {ADDRESS}"), "name not resolved"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong"), "TLS handshake failed: broken off"),
    ],
)
def test_words_without_addresses(error: OSError, detail: str) -> None:
    fault = connect_fault(error)
    assert (fault.kind, fault.detail, fault.request_sent) == (FaultKind.UNREACHABLE, detail, False)
    assert ADDRESS not in str(fault)
