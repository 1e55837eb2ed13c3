"""Why a connection could not be made, in words that hold no address."""

from __future__ import annotations

import os
import socket
import ssl

from app.domain.errors import FaultKind, UpstreamFault

_OTHER_HOST = frozenset((62, 64))  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH


def connect_fault(error: BaseException) -> UpstreamFault:
    """The fault for an error of connecting, of the name or of the TLS handshake. Nothing was sent."""
    return UpstreamFault(FaultKind.UNREACHABLE, _describe(error), request_sent=False)


def _describe(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = "it is for another host" if error.verify_code in _OTHER_HOST else error.verify_message
        return f"TLS certificate not accepted: {reason}"
    if isinstance(error, ssl.SSLError):
        return f"TLS handshake failed: {getattr(error, 'reason', None) or 'broken off'}"
    if isinstance(error, socket.gaierror):
        return "name not resolved"
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno).lower()
    return "not connected"
