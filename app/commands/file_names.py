"""Which files are meant: in a container, by id or name; on this machine, by path or pattern."""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from app.commands.exits import CommandError, ExitCode

if TYPE_CHECKING:
    from quaymaster import ContainerFile

_UPLOADED: Final = re.compile(r"[0-9a-f]{32}-(?=.)")
"""What providers put before the name of an uploaded file."""


def plain_name(file: ContainerFile) -> str:
    """A file's name as its user knows it: the last part of its path, without what the provider put before it."""
    return _UPLOADED.sub("", file.filename.rpartition("/")[2], count=1)


def find_file(files: Iterable[ContainerFile], wanted: str) -> ContainerFile:
    """The file that `wanted` means: its id, else its whole path, else the end of its path or its name.

    Raises CommandError where none fits, and where several do, which it lists.
    """
    known = list(files)
    tests: tuple[Callable[[ContainerFile], bool], ...] = (
        lambda file: file.id == wanted,
        lambda file: file.path == wanted,
        lambda file: file.path.endswith(f"/{wanted}") or wanted in {file.filename, plain_name(file)},
    )
    for fits in tests:
        found = [file for file in known if fits(file)]
        if len(found) == 1:
            return found[0]
        if found:
            listed = ", ".join(f"{file.id} ({file.path})" for file in found)
            raise CommandError(f"{wanted!r} could be {len(found)} files, say which: {listed}", ExitCode.MISUSED)
    raise CommandError(f"the container has no file {wanted!r}", ExitCode.NOT_FOUND)


def local_files(patterns: Sequence[str]) -> list[Path]:
    """The files that paths and patterns mean, in order, each once. `**` goes into folders.

    A path that exists means itself, whatever characters are in it. Raises CommandError for a pattern that fits nothing.
    """
    found: dict[Path, None] = {}
    for pattern in patterns:
        path = Path(pattern)
        if path.is_dir():
            raise CommandError(
                f"{pattern} is a folder: say which files of it, such as '{path / '*'}'", ExitCode.MISUSED
            )
        fitting = [path] if path.exists() else sorted(map(Path, glob.glob(pattern, recursive=True)))
        fitting = [each for each in fitting if not each.is_dir()]
        if not fitting:
            raise CommandError(f"there is no file {pattern}", ExitCode.MISUSED)
        found |= dict.fromkeys(fitting)
    return list(found)


def target_of(file: ContainerFile, output: str | None) -> Path:
    """Where to save a file: at `output`, or under its own name in the folder `output`, else here.

    A name that a container chose never replaces a file, nor hides one, nor leaves the folder. Raises CommandError.
    """
    folder = Path(output or ".")
    if output is not None and not (output.endswith("/") or folder.is_dir()):
        return folder
    name = "".join(character if character.isprintable() else "?" for character in plain_name(file))
    if not name or name.startswith("."):
        raise CommandError(f"the file is called {name!r} in its container: say --output PATH", ExitCode.MISUSED)
    target = folder / name
    if target.exists() or target.is_symlink():
        raise CommandError(f"{target} exists: to replace it say --output {target}", ExitCode.FAILED)
    return target
