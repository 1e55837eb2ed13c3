"""The `quaymaster` command, which is also `python -m app`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from app.start import start

_OPTIONS: Final = {"--config": "", "--host": "SERVER__HOST", "--port": "SERVER__PORT", "--workers": "SERVER__WORKERS"}
_NUMBERS: Final = {"--port", "--workers"}


def main() -> None:
    """Run the command."""
    options = _of_plain_serve(sys.argv[1:])
    if options is None:
        from app.cli import main as run

        run()
        return
    config = options.pop("--config", None)
    sys.exit(start(None if config is None else Path(config), {_OPTIONS[name]: said for name, said in options.items()}))


def _of_plain_serve(words: list[str]) -> dict[str, str] | None:
    """The options of a `serve` that is said as service managers say it: whole names, each with its value apart.

    None for everything else, mistakes included: the command line proper takes 20 ms and 1.3 MB that a gateway which
    starts can do without.
    """
    if words[:1] != ["serve"] or len(words) % 2 == 0:
        return None
    options = dict(zip(words[1::2], words[2::2], strict=True))
    if not options.keys() <= _OPTIONS.keys() or any(said.startswith("-") for said in options.values()):
        return None
    if not all(options[name].isdecimal() for name in _NUMBERS & options.keys()):
        return None
    return options


if __name__ == "__main__":
    main()
