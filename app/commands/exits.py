"""How a command ends: with which exit code, and what it says on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from enum import IntEnum

import typer

from app.commands.output import shown


class ExitCode(IntEnum):
    """What a script may decide by. docs/cli.md explains each."""

    DONE = 0
    FAILED = 1
    MISUSED = 2
    NOT_FOUND = 3
    REFUSED = 4
    LIMITED = 5
    UNREACHABLE = 6
    READER_GONE = 141
    """What the shell shows for a program that SIGPIPE ended."""


_BY_STATUS = {
    400: ExitCode.MISUSED,
    401: ExitCode.REFUSED,
    403: ExitCode.REFUSED,
    404: ExitCode.NOT_FOUND,
    413: ExitCode.MISUSED,
    422: ExitCode.MISUSED,
    429: ExitCode.LIMITED,
}


class CommandError(Exception):
    """Why a command cannot go on, in words for whoever typed it."""

    def __init__(self, message: str, code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.code = code


def code_of_status(status: int) -> ExitCode:
    """The exit code for an answer with an HTTP status that is no success."""
    return _BY_STATUS.get(status, ExitCode.FAILED)


def code_of(error: Exception) -> ExitCode | None:
    """The exit code for an error. None: it is none that a command expects."""
    from quaymaster import errors

    if isinstance(error, CommandError):
        return error.code
    if isinstance(error, errors.APIStatusError):
        expired = isinstance(error, errors.ContainerExpiredError)
        return ExitCode.NOT_FOUND if expired else code_of_status(error.status_code)
    for kinds, code in (
        ((errors.APIConnectionError,), ExitCode.UNREACHABLE),
        ((errors.InvalidArgumentError, errors.MissingCredentialError), ExitCode.MISUSED),
        ((errors.QuaymasterError, OSError), ExitCode.FAILED),
    ):
        if isinstance(error, kinds):
            return code
    return None


def tell(message: str) -> None:
    """Say something on stderr that is no data."""
    print(shown(message), file=sys.stderr)


def fail(error: Exception) -> None:
    """Say on stderr what went wrong."""
    if isinstance(error, OSError) and error.strerror:
        tell(f"quaymaster: {f'{error.filename}: ' if error.filename else ''}{error.strerror}")
    elif address := _where_nobody_answers(error):
        tell(f"quaymaster: {nothing_answers(address, error.__cause__)}")
    else:
        tell(f"quaymaster: {error}")


def nothing_answers(address: str, why: object) -> str:
    """What to do where no connection can be made."""
    return f"nothing answers at {address} ({why}): start it with `quaymaster serve`, or say --base-url"


def _where_nobody_answers(error: Exception) -> str | None:
    from quaymaster import errors

    if not isinstance(error, errors.APIConnectionError):
        return None
    import httpx

    cause = error.__cause__
    if not isinstance(cause, httpx.ConnectError):
        return None
    url = cause.request.url
    return f"{url.scheme}://{url.netloc.decode()}"


@contextmanager
def ending() -> Generator[None]:
    """Turn the errors that a command expects into words on stderr and its exit code; let no output get lost."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        _let_go_of_stdout()
        raise typer.Exit(ExitCode.READER_GONE) from None
    except typer.Exit:
        _flush_what_can_be()
        raise
    except Exception as error:
        code = code_of(error)
        if code is None:
            raise
        fail(error)
        _flush_what_can_be()
        raise typer.Exit(code) from None


def _flush_what_can_be() -> None:
    try:
        sys.stdout.flush()
    except OSError:
        _let_go_of_stdout()


def _let_go_of_stdout() -> None:
    """What is left in its buffer goes nowhere, or the interpreter would try again at its end, and complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
