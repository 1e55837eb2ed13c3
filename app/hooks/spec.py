"""What a plugin may observe. docs/hooks.md shows one at work.

startup → ( request → crossed* → ( attempt → attempt_failed? )* → response? → settled )* → shutdown

`crossed` stands for `soft_budget_crossed` and `shadow_limit_crossed`, of creates.
"""

from __future__ import annotations

from app.domain.exchange import Attempt, Exchange
from app.domain.spending import Crossing


class Hooks:
    """The base of every plugin: override what you want to see.

    Each method may be a plain function, which must return at once because the event loop waits for it, or `async def`,
    which is cancelled after `hooks.timeout_seconds`. Hooks observe: they may not change the exchange, and what they
    return is ignored. What they raise is logged and counted (`quaymaster_hook_failures_total`) and changes nothing for
    the client. Plugins are called one after the other, in the order of the configuration.

    `exchange.headers`, `exchange.request_json`, `exchange.response_json` and `exchange.upstream_body` may hold secrets.
    Nothing of them may leave the process except through `app.telemetry.redaction.redact`.
    """

    def startup(self) -> object:
        """The gateway is about to take requests. Open files and connections here: the event loop is running."""

    def request(self, exchange: Exchange) -> object:
        """One of the nine operations was asked for by a known caller; nothing of the body is read yet.

        Filled in: everything of the edge, `principal`, `operation`, `container_id`, `file_id`. The client waits.
        Not called where the credential or the path is wrong: those are only `settled`.
        """

    def soft_budget_crossed(self, exchange: Exchange, crossing: Crossing) -> object:
        """With this create an account has spent and reserved more than its `soft_budget`: called once in each window,
        or again where it went below meanwhile.

        `crossing` says whose account, and where it stands now. The client waits; the upstream has not been asked yet.
        """

    def shadow_limit_crossed(self, exchange: Exchange, crossing: Crossing) -> object:
        """This create would have been refused, if the account's limits were not a shadow's.

        `crossing` says whose account, what it has no room for, and where it stands now. The client waits.
        """

    def attempt(self, exchange: Exchange, attempt: Attempt) -> object:
        """An upstream is about to be asked.

        Filled in since `request`: `provider`, `request_json`, `upstream_*`, `deployment`. `attempt` is the last of
        `exchange.attempts` and has its number, deployment and start. The client waits, and so counts it as the
        upstream's time.
        """

    def attempt_failed(self, exchange: Exchange, attempt: Attempt) -> object:
        """The upstream gave no answer: `attempt.fault` says why and `attempt.ended_at` when. The client waits.

        An answer with an error status is no failure here: `attempt.status` has it in `response`.
        """

    def response(self, exchange: Exchange) -> object:
        """The head of an upstream's answer is here, and its body where it is small JSON; the client has nothing yet.

        Filled in since `attempt`: `status` of the last of `attempts`, `upstream_request_id` and, for JSON,
        `response_json`. Not called for the gateway's own answers, such as errors. The client waits.
        """

    def settled(self, exchange: Exchange) -> object:
        """It is over, whether answered, refused, cut off or cancelled: called once for every request.

        Everything is filled in, `outcome` and `ended_at` included; digests and `bytes_out` are final. The client has
        its answer already. An `async def` runs in the background and shutdown waits for it.
        """

    def shutdown(self) -> object:
        """The last request is settled. Close what `startup` opened."""
