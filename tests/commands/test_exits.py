"""Each way to end has its exit code, whichever road the request takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.commands.exits import ExitCode, code_of, code_of_status
from quaymaster import errors
from tests.commands.running import run
from tests.e2e.gateway import RunningGateway

NOWHERE = "http://127.0.0.1:1"
EXPIRED = {"error": {"message": "Container is expired."}}


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, 2), (401, 4), (403, 4), (404, 3), (409, 1), (413, 2), (422, 2), (429, 5), (500, 1), (502, 1), (503, 1)],
)
def test_a_status_has_one_code_on_both_planes(status: int, code: int) -> None:
    assert code_of_status(status) == code
    assert code_of(errors.status_error(status, None, {})) == code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.APIConnectionError(), 6),
        (errors.APITimeoutError(), 6),
        (errors.status_error(400, EXPIRED, {}), 3),
        (errors.InvalidArgumentError("x"), 2),
        (errors.MissingCredentialError("x"), 2),
        (errors.QuaymasterError("x"), 1),
        (FileNotFoundError(2, "x"), 1),
        (ZeroDivisionError(), None),
    ],
)
def test_an_error_has_one_code(error: Exception, code: int | None) -> None:
    assert code_of(error) == code


@pytest.mark.parametrize(
    "arguments", [["containers", "ls"], ["files", "ls", "cntr_1"], ["keys", "list"], ["containers", "list"]]
)
def test_where_nobody_answers(arguments: list[str]) -> None:
    done = run(*arguments, "--base-url", NOWHERE, "--api-key", "sk-secret")
    assert (done.code, done.stdout) == (ExitCode.UNREACHABLE, "")
    assert done.stderr.startswith(f"quaymaster: nothing answers at {NOWHERE} (")
    assert "`quaymaster serve`" in done.stderr
    assert "sk-secret" not in done.stderr


@pytest.mark.parametrize("arguments", [["containers", "ls"], ["keys", "list"]])
def test_a_key_that_is_refused(gateway: RunningGateway, arguments: list[str]) -> None:
    done = run(*arguments, "--base-url", gateway.url, "--api-key", "sk-wrong")
    assert (done.code, done.stdout) == (ExitCode.REFUSED, "")
    assert "sk-wrong" not in done.stderr


@pytest.mark.parametrize("arguments", [["containers", "ls"], ["keys", "list"]])
def test_a_key_that_cannot_be_one(gateway: RunningGateway, arguments: list[str]) -> None:
    done = run(*arguments, "--base-url", gateway.url, "--api-key", "sk-ключ")
    assert (done.code, done.stdout) == (ExitCode.MISUSED, "")


def test_what_may_not_be_done(gateway: RunningGateway) -> None:
    key = gateway.make_key(allowed_operations=["containers.list"])
    done = run("containers", "create", "x", "--base-url", gateway.url, "--api-key", key)
    assert (done.code, done.stdout) == (ExitCode.REFUSED, "")
    assert "containers.create" in done.stderr


@pytest.mark.parametrize("arguments", [["containers", "lss"], ["containers"], ["nothing"], ["files", "put"]])
def test_wrong_use(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.code == ExitCode.MISUSED


def test_an_upload_that_meets_an_expired_container(gateway: RunningGateway, key: str, elsewhere: Path) -> None:
    container = run("containers", "create", "x").stdout.strip()
    run("containers", "rm", container)
    (elsewhere / "a").write_text("a")
    done = run("files", "put", container, "a")
    assert (done.code, done.stdout) == (ExitCode.NOT_FOUND, "")
