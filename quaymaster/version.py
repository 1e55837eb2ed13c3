"""The version of this distribution, as the SDK names itself to servers. pyproject.toml says the same."""

from typing import Final

VERSION: Final = "0.1.0"
