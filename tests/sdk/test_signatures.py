"""Signatures and help: what a person sees who types a name wrong, or asks what there is."""

from __future__ import annotations

import inspect
import io
import pydoc
import re
import typing
from collections.abc import Callable
from typing import Any

import pytest

import quaymaster
from quaymaster import AsyncQuaymaster, Quaymaster
from quaymaster.options import CallOptions, ClientOptions, RequestOptions
from quaymaster.signatures import COMMON

FUNCTIONS = [name for name in quaymaster.__all__ if name == "container" or (name.islower() and name.partition("_")[2])]
BLOCKING = [name for name in FUNCTIONS if f"a{name}" in FUNCTIONS]


def parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    return {name: each for name, each in inspect.signature(function).parameters.items() if name != "self"}


def help_of(thing: object) -> str:
    """What `help` prints."""
    printed = io.StringIO()
    pydoc.Helper(output=printed).help(thing)
    return printed.getvalue()


def methods(client: type) -> dict[str, Callable[..., Any]]:
    """The public methods of a client, by their name in full, such as `files.create`."""
    made = client(api_key="sk-key")
    found: dict[str, Callable[..., Any]] = {}
    for prefix, resource in (("", made.containers), ("files.", made.containers.files)):
        for name, method in inspect.getmembers(resource, inspect.ismethod):
            if not name.startswith("_"):
                found[prefix + name] = method
    return found


def test_every_function_of_the_nine_and_more_has_a_twin() -> None:
    assert len(BLOCKING) == 12
    assert set(FUNCTIONS) == {*BLOCKING, *(f"a{name}" for name in BLOCKING), "container"}


@pytest.mark.parametrize("name", BLOCKING)
def test_twins_have_the_same_signature(name: str) -> None:
    blocking, awaited = getattr(quaymaster, name), getattr(quaymaster, f"a{name}")
    assert parameters(blocking) == parameters(awaited)
    if "stream" not in name:
        assert inspect.iscoroutinefunction(awaited)
    assert not inspect.iscoroutinefunction(blocking)


def test_clients_have_the_same_methods() -> None:
    blocking, awaited = methods(Quaymaster), methods(AsyncQuaymaster)
    assert blocking.keys() == awaited.keys()
    assert {
        "create",
        "list",
        "retrieve",
        "delete",
        "files.content",
        "files.stream",
        "files.download",
    } <= blocking.keys()
    for name, method in blocking.items():
        assert parameters(method) == parameters(awaited[name]), name
        assert set(RequestOptions.__annotations__) <= set(parameters(method)), name


@pytest.mark.parametrize("name", FUNCTIONS)
def test_help_names_each_argument_with_units_and_errors(name: str) -> None:
    function = getattr(quaymaster, name)
    shown = help_of(function)
    assert set(CallOptions.__annotations__) <= set(parameters(function))
    for parameter in parameters(function):
        assert re.search(rf"(?m)^\s*(\w+, )*{parameter}(, \w+)*: ", shown), parameter
        assert re.search(rf"[(\s]{parameter}[:=]", shown.splitlines()[2]), parameter
    assert "seconds" in shown
    for part in ("Args:", "Returns:", "Raises:", "Example:"):
        assert part in shown
    for error in ("MissingCredentialError", "APITimeoutError", "NotFoundError", "ContainerExpiredError", "TypeError"):
        assert error in shown


def test_the_help_on_clients_names_each_argument() -> None:
    described = help_of(Quaymaster)
    for name in (*ClientOptions.__annotations__, "http_client"):
        assert re.search(rf"(?m)(^[\s|]*|, ){name}(, \w+)*: ", described), name
        assert name in str(inspect.signature(Quaymaster))
    assert (
        inspect.signature(Quaymaster.__init__).parameters.keys()
        == inspect.signature(AsyncQuaymaster.__init__).parameters.keys()
    )


def test_the_common_help_is_about_what_there_is() -> None:
    said = COMMON[: COMMON.index("Raises:")]
    named = {name for line in re.findall(r"(?m)^    (\w+(?:, \w+)*): ", said) for name in line.split(", ")}
    assert named == set(CallOptions.__annotations__)
    raised = set(re.findall(r"\b\w+Error\b", COMMON)) - {"TypeError", "ValueError"}
    raised -= {"OSError"}
    assert raised <= set(quaymaster.__all__)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("api_bas", "api_base"),
        ("base_url", "api_base"),
        ("timout", "timeout"),
        ("num_retries", "max_retries"),
        ("headers", "extra_headers"),
        ("provider", "custom_llm_provider"),
        ("expire_after", "expires_after"),
        ("memory", "memory_limit"),
        ("fileids", "file_ids"),
    ],
)
async def test_a_misspelt_argument_is_told_the_nearest(wrong: str, right: str) -> None:
    arguments: dict[str, Any] = {wrong: 1}
    message = f"argument '{wrong}'. Did you mean '{right}'?"
    with pytest.raises(TypeError, match=re.escape(f"create_container() has no {message}")):
        quaymaster.create_container("x", **arguments)
    with pytest.raises(TypeError, match=re.escape(f"acreate_container() has no {message}")):
        await quaymaster.acreate_container("x", **arguments)


async def test_methods_and_clients_are_told_too() -> None:
    arguments: dict[str, Any] = {"base_url": "http://x"}
    for client in (Quaymaster, AsyncQuaymaster):
        with pytest.raises(
            TypeError, match=f"^{client.__name__}.. has no argument 'base_url'. Did you mean 'api_base'"
        ):
            client(**arguments)
    arguments = {"time_out": 1}
    with Quaymaster(api_key="sk-key") as made, pytest.raises(TypeError, match="Did you mean 'timeout'"):
        made.containers.files.retrieve("f", container_id="c", **arguments)
    async with AsyncQuaymaster(api_key="sk-key") as made_async:
        with pytest.raises(TypeError, match="Did you mean 'timeout'"):
            await made_async.containers.create("x", **arguments)


def test_an_argument_like_no_other_is_told_all_that_there_are() -> None:
    arguments: dict[str, Any] = {"zzzzz": 1}
    with pytest.raises(TypeError, match=r"has no argument 'zzzzz'; it takes .*container_id, .*timeout\."):
        quaymaster.retrieve_container("x", **arguments)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_missing_is_said_as_python_says_it(name: str) -> None:
    if "list_containers" in name or inspect.iscoroutinefunction(getattr(quaymaster, name)):
        return
    with pytest.raises(TypeError, match="missing"):
        getattr(quaymaster, name)()


def test_types_can_be_asked_for() -> None:
    for name in FUNCTIONS:
        hints = typing.get_type_hints(getattr(quaymaster, name))
        assert hints["return"] is not None
