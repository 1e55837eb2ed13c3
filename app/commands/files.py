"""`quaymaster files`: the files of a container, seen, sent and fetched."""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Final

import typer

from app.commands.completion import complete_container
from app.commands.containers import Limit, Order, Provider
from app.commands.exits import CommandError, ExitCode, code_of
from app.commands.file_names import find_file, local_files, plain_name, target_of
from app.commands.invocation import Invocation, command, group_of
from app.commands.output import moment, show_json, show_table
from app.commands.progress import progress_bar
from app.commands.removal import remove_each

if TYPE_CHECKING:
    from quaymaster import ContainerFile, ContainerFileDeleted, Quaymaster

commands = group_of("See, send and fetch the files of a container.")

Container = Annotated[str, typer.Argument(metavar="CONTAINER", autocompletion=complete_container)]
_COLUMNS: Final = ("id", "bytes", "created_at", "source", "path")
PIPE: Final = "-"


@command(commands, "ls")
def list_files(
    asked: Invocation, container: Container, limit: Limit = None, order: Order = "desc", provider: Provider = None
) -> None:
    """Show the files of a container."""
    with asked.client(provider) as client:
        page = client.containers.files.list(container, limit=min(limit or 100, 100), order=order)
        found = list(islice(page.auto_paging(), limit))
    _show(asked, found)


@command(commands, "put")
def put(
    asked: Invocation,
    container: Container,
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH...", help="Files, or patterns such as '*.csv'; - is stdin.")
    ],
    name: Annotated[str | None, typer.Option(help="What the file is to be called; for one file only.")] = None,
    provider: Provider = None,
) -> None:
    """Send files into a container. It stops at the first that fails; prints those that are there."""
    sources = _sources(paths, name)
    sent: list[ContainerFile] = []
    first: Exception | None = None
    with asked.client(provider) as client:
        for called, content in sources:
            try:
                with progress_bar(called) as on_progress:
                    made = client.containers.files.create(container, file=(called, content), on_progress=on_progress)
                sent.append(made)
            except Exception as error:
                if code_of(error) is None:
                    raise
                first = error
                break
    _show(asked, sent)
    if first is not None:
        if len(sources) > 1:
            print(f"quaymaster: {len(sent)} of {len(sources)} files were sent", file=sys.stderr)
        raise first


@command(commands, "get")
def get(
    asked: Invocation,
    container: Container,
    file: Annotated[str, typer.Argument(metavar="FILE", help="Its id, name or path in the container.")],
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="Where to save it: a path, a folder, or - for stdout.")
    ] = None,
    provider: Provider = None,
) -> None:
    """Fetch a file of a container, and print where it was saved."""
    if output == PIPE and asked.as_json:
        raise CommandError("--json and --output - exclude each other: both want stdout", ExitCode.MISUSED)
    with asked.client(provider) as client:
        found = _find(client, container, file)
        if output == PIPE:
            _pour(client, found)
            return
        target = target_of(found, output)
        with progress_bar(plain_name(found)) as on_progress:
            client.containers.files.download(found.id, container_id=container, to=target, on_progress=on_progress)
    if asked.as_json:
        show_json(found.model_dump(mode="json", exclude_unset=True) | {"saved_to": str(target)})
    else:
        print(target)


@command(commands, "rm")
def remove(
    asked: Invocation,
    container: Container,
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Ids, names or paths in the container.")],
    provider: Provider = None,
) -> None:
    """Delete files of a container. Prints the ids of those that it deleted."""
    with asked.client(provider) as client:

        def delete(file: str) -> ContainerFileDeleted:
            return client.containers.files.delete(_find(client, container, file).id, container_id=container)

        remove_each(asked, files, delete)


def _sources(paths: list[str], name: str | None) -> list[tuple[str, Path | IO[bytes]]]:
    """What is to be sent: names and contents."""
    if PIPE in paths:
        if len(paths) > 1 or name is None:
            raise CommandError("to send stdin, say - and no other path, and --name", ExitCode.MISUSED)
        return [(name, sys.stdin.buffer)]
    found = local_files(paths)
    if name is not None and len(found) > 1:
        raise CommandError(f"--name is for one file, and these are {len(found)}", ExitCode.MISUSED)
    return [(name or path.name, path) for path in found]


def _find(client: Quaymaster, container: str, wanted: str) -> ContainerFile:
    """The file that is meant. Ids are asked for; for anything else the files are listed."""
    from quaymaster import NotFoundError

    if wanted.startswith(("cfile_", "cfile-")):
        try:
            return client.containers.files.retrieve(wanted, container_id=container)
        except NotFoundError:
            pass  # a file may be called like that
    return find_file(client.containers.files.list(container, limit=100).auto_paging(), wanted)


def _pour(client: Quaymaster, file: ContainerFile) -> None:
    """A file's content to stdout, as it comes."""
    out = sys.stdout.buffer
    with (
        client.containers.files.stream(file.id, container_id=file.container_id) as stream,
        progress_bar(plain_name(file), hidden=out.isatty()) as on_progress,
    ):
        poured_bytes = 0
        for piece in stream.iter_bytes():
            out.write(piece)
            poured_bytes += len(piece)
            on_progress(poured_bytes, stream.total_bytes)


def _show(asked: Invocation, files: list[ContainerFile]) -> None:
    if asked.as_json:
        show_json([each.model_dump(mode="json", exclude_unset=True) for each in files])
    else:
        rows = [
            each.model_dump(mode="json", exclude_unset=True) | {"created_at": moment(each.created_at)} for each in files
        ]
        show_table(_COLUMNS, rows)
