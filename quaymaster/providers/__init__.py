"""How each provider spells a request: credentials, base address, API version. No I/O, so every client shares it."""

from quaymaster.providers.dialects import Credential, Dialect, Endpoint, dialect_of

__all__ = ["Credential", "Dialect", "Endpoint", "dialect_of"]
