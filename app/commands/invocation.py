"""What every command that reaches a gateway takes, and what it makes of it.

Where to send and with which key, strongest first: the options `--base-url` and `--api-key`; the profile that
`--profile` names; QUAYMASTER_API_BASE and QUAYMASTER_API_KEY; the profile that QUAYMASTER_PROFILE names, else the one
called default; the gateway whose settings are at hand. Its master key goes to another gateway only where an operator's
command was told of no other key.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, is_dataclass
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, Final, ParamSpec

import typer

from app.commands.exits import CommandError, ExitCode, ending
from app.commands.here import Config
from app.commands.output import show_json
from app.commands.profiles import Profile, find_profile

if TYPE_CHECKING:
    from app.commands.admin import Admin
    from app.config.settings import Settings
    from quaymaster import Quaymaster

P = ParamSpec("P")

CONNECT_SECONDS: Final = 5.0
SILENCE_SECONDS: Final = 600.0


def complete_profile(incomplete: str) -> list[str]:
    """The profiles whose names begin so."""
    from app.commands.profiles import profile_names

    try:
        return [name for name in profile_names(os.environ) if name.startswith(incomplete)]
    except CommandError:
        return []


@dataclass(frozen=True, slots=True)
class Invocation:
    """What was said of where to send and how to answer, whichever command it is."""

    profile: Annotated[
        str | None,
        typer.Option(help="Gateway and key of this name in the user's configuration.", autocompletion=complete_profile),
    ] = None
    base_url: Annotated[
        str | None, typer.Option(help="The gateway's base URL. Default: QUAYMASTER_API_BASE, the profile's.")
    ] = None
    api_key: Annotated[str | None, typer.Option(help="A key of it. Default: QUAYMASTER_API_KEY, the profile's.")] = (
        field(default=None, repr=False)
    )
    config: Config = None
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False

    def client(self, provider: str | None = None, **options: Any) -> Quaymaster:
        """The data plane, as a user sees it. Raises CommandError."""
        import httpx

        from quaymaster import Quaymaster

        base_url, api_key = self._destination(for_operator=False)
        options = {"timeout": httpx.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS)} | options
        return Quaymaster(api_base=base_url, api_key=api_key, custom_llm_provider=provider, **options)

    def admin(self) -> Admin:
        """The admin routes, as an operator sees them. Raises CommandError."""
        from app.commands.admin import Admin

        return Admin(*self._destination(for_operator=True))

    def answer(self, answer: Any, show: Callable[[Any], None]) -> None:
        """Print an answer: for programs where they asked for it, else with `show`."""
        show_json(answer) if self.as_json else show(answer)

    def _destination(self, *, for_operator: bool) -> tuple[str, str]:
        named, other, environ = Profile(), Profile(), os.environ
        if self.profile is not None:
            named = find_profile(self.profile, environ)
        elif not (self.base_url and self.api_key):
            other = find_profile(environ.get("QUAYMASTER_PROFILE") or None, environ)
        base_url = self.base_url or named.base_url or environ.get("QUAYMASTER_API_BASE") or other.base_url
        api_key = self.api_key or named.api_key or environ.get("QUAYMASTER_API_KEY") or other.api_key
        if base_url and api_key:
            return base_url, api_key
        return self._completed(base_url, api_key, for_operator=for_operator)

    def _completed(self, base_url: str | None, api_key: str | None, *, for_operator: bool) -> tuple[str, str]:
        from app.commands.here import address, master_key, settings_here

        if base_url and not for_operator:
            hint = "say --api-key, set QUAYMASTER_API_KEY, or give the profile an api_key"
            raise CommandError(f"no key for {base_url}: {hint}", ExitCode.MISUSED)
        settings: Settings = settings_here(self.config)
        return base_url or address(settings), api_key or master_key(settings)


def command(
    group: typer.Typer, name: str
) -> Callable[[Callable[Concatenate[Invocation, P], None]], Callable[Concatenate[Invocation, P], None]]:
    """Make a function a command of `group`. Where a parameter is a dataclass, its fields are options of the command.

    Errors that commands expect end it with their exit code. The function itself stays as it is.
    """

    def register(function: Callable[Concatenate[Invocation, P], None]) -> Callable[Concatenate[Invocation, P], None]:
        own = inspect.signature(function, eval_str=True).parameters
        bundles: dict[str, type] = {each.name: each.annotation for each in own.values() if _is_bundle(each)}
        fields = {each: list(inspect.signature(bundle, eval_str=True).parameters) for each, bundle in bundles.items()}

        def run(**given: Any) -> None:
            for each, bundle in bundles.items():
                given[each] = bundle(**{field: given.pop(field) for field in fields[each]})
            with ending():
                function(**given)  # type: ignore[call-arg]

        run.__doc__ = function.__doc__
        vars(run)["__signature__"] = inspect.Signature(_unbundled(own.values()))
        group.command(name)(run)
        return function

    return register


def _is_bundle(parameter: inspect.Parameter) -> bool:
    return is_dataclass(parameter.annotation)


def _unbundled(parameters: Iterable[inspect.Parameter]) -> list[inspect.Parameter]:
    """These parameters, dataclasses as their fields; those that all commands share come last."""
    own: list[inspect.Parameter] = []
    shared: list[inspect.Parameter] = []
    for each in parameters:
        if _is_bundle(each):
            fields = inspect.signature(each.annotation, eval_str=True).parameters.values()
            (shared if each.annotation is Invocation else own).extend(fields)
        else:
            own.append(each)
    return [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in (*own, *shared)]


def group_of(help_text: str) -> typer.Typer:
    """A group of commands, empty so far."""
    return typer.Typer(help=help_text, no_args_is_help=True, add_completion=False, rich_markup_mode=None)
