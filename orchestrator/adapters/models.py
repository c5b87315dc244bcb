"""One call to one deployment through LiteLLM: a reply with its usage, or a failure that says what it may have cost.

Nothing is tried twice here, nothing is reserved or charged: `metering.py` does that around each call. LiteLLM
takes seconds to import, so it is imported with the first call, in a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import warnings
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from orchestrator.adapters.background import in_background
from orchestrator.adapters.models_failures import (
    CallFailure,
    FailureKind,
    kind_of_status,
    kind_of_wire,
    retry_after_seconds,
    told_by,
)
from orchestrator.adapters.models_usage import WireReply, finish_of, read_reply, text_of
from orchestrator.adapters.scrubbing import scrubbed, secrets_in, secrets_in_url
from orchestrator.adapters.settings_models import KEY_VARIABLES
from orchestrator.adapters.tokens import input_token_bound as input_token_bound
from orchestrator.core.catalogue import Deployment
from orchestrator.core.money import Usage, Usd
from orchestrator.core.ports import Clock, Flag, Message
from orchestrator.core.text import one_line

if TYPE_CHECKING:
    from orchestrator.adapters.models_wire import Wire

T = TypeVar("T")

_MESSAGE_LENGTH = 300
# A local server's address with no key: LiteLLM would send it whatever key it finds in the environment.
_NO_KEY = "no-key"
# Whose calls all pass our transport, so that one which did not come by never left. LiteLLM calls others by clients
# of its own; those that are not known here are charged in doubt.
WATCHED_PROVIDERS = frozenset(
    {
        *KEY_VARIABLES,
        "azure_ai",
        "codestral",
        "databricks",
        "hosted_vllm",
        "litellm_proxy",
        "lm_studio",
        "ollama_chat",
    }
)
_OLLAMA_CONTEXT_STEP = 1024
_OLLAMA_DEFAULT_CONTEXT = 32_768


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRequest:
    """What one provider call is to be. `input_bound` is the token bound its hold was made for."""

    messages: tuple[Message, ...]
    max_output_tokens: int
    input_bound: int
    deadline_seconds: float
    schema: Mapping[str, object] | None = None
    schema_name: str = "reply"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A usable reply. `usage` is None when the provider stated none, or an impossible one (then a flag says so).

    `stated_cost` is what the provider itself says it charges, where it does.
    """

    text: str
    answered_by: str
    finish_reason: str
    usage: Usage | None
    flags: tuple[Flag, ...] = ()
    stated_cost: Usd | None = None


@dataclass(slots=True)
class CallProgress:
    """`sent_at` is when the request left, so that it may have reached the provider: seconds of the monotonic clock."""

    sent_at: float | None = None

    @property
    def sent(self) -> bool:
        return self.sent_at is not None


class MissingKey(Exception):
    """The environment variable with the deployment's key is empty or not set; nothing was sent."""


class ModelCalls:
    """Calls deployments. Keys are read from `environ` by name at call time and kept nowhere."""

    def __init__(self, *, clock: Clock, environ: Mapping[str, str]) -> None:
        self._clock, self._environ = clock, environ

    async def call(
        self, deployment: Deployment, request: CallRequest, progress: CallProgress
    ) -> Answer | CallFailure:
        """Make exactly one provider call within `request.deadline_seconds`, slow drips included.

        Raises nothing but a cancellation; `progress` then tells whether the request had left.
        """
        try:
            arguments = self._arguments(deployment, request)
        except MissingKey as error:
            return CallFailure(kind=FailureKind.MISCONFIGURED, unprocessed=True, message=str(error))
        if isinstance(arguments, CallFailure):
            return arguments
        # Seconds on a busy machine, for which an interrupted run does not wait.
        litellm = await in_background(loaded_litellm, abandon=True)
        from orchestrator.adapters.models_wire import CURRENT, Wire

        clock = self._clock

        class Watched(Wire):
            # Told as it happens: those who wait for this minute to pass count from then.
            def __setattr__(self, name: str, value: object) -> None:
                if name == "sent" and value is not progress.sent:
                    progress.sent_at = clock.monotonic() if value else None
                super().__setattr__(name, value)

        wire = Watched(most_output_tokens=request.max_output_tokens)
        token = CURRENT.set(wire)
        try:
            # LiteLLM's `timeout` is per read; only this bounds the whole call.
            async with asyncio.timeout(request.deadline_seconds):
                text, finish = await _withdrawable(_complete(litellm, arguments), wire, deployment)
        except TimeoutError:
            return self._failed(
                deployment, wire, f"no complete reply within {request.deadline_seconds:.0f} s", timed_out=True
            )
        except Exception as error:
            wire.sent = wire.sent or _left_unseen(deployment, wire, error)
            # What is odd about a reply's usage makes LiteLLM fail on all of it; it was paid, so it is read here.
            text, finish = text_of(wire.text()) if wire.status == 200 else None, finish_of(wire.text())
            if text is None:
                return self._failed(deployment, wire, wire.refused or told_by(wire, str(error)))
        else:
            wire.sent = wire.sent or _left_unseen(deployment, wire, None)
        finally:
            CURRENT.reset(token)
        return self._answer(deployment, wire, text, finish)

    def _answer(
        self,
        deployment: Deployment,
        wire: Wire,
        text: str | None,
        finish: str,
    ) -> Answer | CallFailure:
        if not wire.reached and text is not None:
            # LiteLLM fetched it by a client of its own: the reply is good, what it cost is not known.
            return Answer(
                text=text,
                answered_by=deployment.model,
                finish_reason=finish,
                usage=None,
                flags=(Flag.NO_USAGE,),
            )
        said = read_reply(wire.text(), streamed=deployment.parameters.get("stream") is True)
        if not said.ended:
            return self._failed(deployment, wire, "the reply was cut off", cut=True)
        if text is None:
            return self._failed(deployment, wire, "the reply holds no message")
        usage, flags = _checked(said, deployment)
        if text and usage is not None and usage.output_tokens == 0:
            # No text is written with no tokens, so this is a provider that does not count them.
            usage, flags = None, (Flag.ODD_USAGE,)
        return Answer(
            text=text,
            answered_by=said.answered_by or deployment.model,
            finish_reason=finish,
            usage=usage,
            flags=flags,
            stated_cost=said.cost,
        )

    def _failed(
        self, deployment: Deployment, wire: Wire, message: str, *, timed_out: bool = False, cut: bool = False
    ) -> CallFailure:
        kind, unprocessed = kind_of_wire(wire)
        if wire.redirected_to:
            message = f"the server redirects to {wire.redirected_to}, which is not followed"
        if timed_out and (kind is FailureKind.BROKEN or unprocessed):
            kind = FailureKind.TIMED_OUT
        said = read_reply(wire.text(), streamed=deployment.parameters.get("stream") is True)
        # A bill in a whole but unreadable reply counts; one in a torn reply may only be a part.
        whole = wire.status == 200 and said.ended and not timed_out and not cut
        usage, flags = _checked(said, deployment) if whole else (None, ())
        if kind in (FailureKind.BROKEN, FailureKind.TIMED_OUT) and not whole:
            flags = (Flag.CUT,)
        return CallFailure(
            kind=kind,
            unprocessed=unprocessed,
            message=self._shown(deployment, message),
            status=wire.status,
            retry_after_seconds=retry_after_seconds(
                wire.headers, now_epoch_seconds=self._clock.epoch_seconds()
            ),
            usage=usage,
            flags=flags,
            answered_by=said.answered_by if whole else "",
            stated_cost=said.cost if whole else None,
        )

    def _shown(self, deployment: Deployment, message: str) -> str:
        literal = deployment.parameters.get("api_key")
        secrets = (
            secrets_in(self._environ, variables=[deployment.key_variable or ""])
            | secrets_in_url(deployment.api_base)
            | ({literal} if isinstance(literal, str) and len(literal) >= 8 else set())
        )
        return one_line(scrubbed(message, secrets), _MESSAGE_LENGTH)

    def _arguments(self, deployment: Deployment, request: CallRequest) -> dict[str, Any] | CallFailure:
        arguments: dict[str, Any] = {
            **deployment.parameters,
            "model": deployment.model,
            "messages": [{"role": message.role, "content": message.content} for message in request.messages],
            "max_tokens": request.max_output_tokens,
            # Every call has one hold: LiteLLM and the SDKs below it would send up to three on their own.
            "max_retries": 0,
            "num_retries": 0,
            "timeout": request.deadline_seconds + 5.0,
        }
        if deployment.api_base is not None:
            arguments["api_base"] = deployment.api_base
        key = self._key(deployment)
        if key is not None:
            arguments["api_key"] = key
        if arguments.get("stream") is True:
            arguments["stream_options"] = {"include_usage": True}
        if request.schema is not None and deployment.supports_schema:
            arguments["response_format"] = {
                "type": "json_schema",
                "json_schema": {
                    "name": request.schema_name,
                    "schema": request.schema,
                    "strict": _is_strict(request.schema),
                },
            }
        match deployment.model.split("/")[0]:
            case "openrouter":
                arguments["extra_body"] = _with_max_price(arguments.get("extra_body"), deployment, request)
            case "ollama" | "ollama_chat":
                return self._with_context(arguments, deployment, request)
        return arguments

    def _key(self, deployment: Deployment) -> str | None:
        if deployment.key_variable is not None:
            key = self._environ.get(deployment.key_variable, "").strip()
            if not key:
                raise MissingKey(
                    f"{deployment.model}: {deployment.key_variable} is not set in the environment"
                )
            return key
        literal = deployment.parameters.get("api_key")
        if isinstance(literal, str) and literal:
            return literal
        return _NO_KEY if deployment.api_base is not None else None

    def _with_context(
        self, arguments: dict[str, Any], deployment: Deployment, request: CallRequest
    ) -> dict[str, Any] | CallFailure:
        """Ollama cuts a prompt that is longer than its context, silently: the context is fitted, or it is refused."""
        limit = deployment.max_input_tokens or _OLLAMA_DEFAULT_CONTEXT
        needed = request.input_bound + request.max_output_tokens
        if needed > limit:
            return CallFailure(
                kind=FailureKind.REFUSED,
                unprocessed=True,
                message=f"{deployment.model}: prompt and reply may take {needed} tokens, its context holds {limit}: "
                f"send less, or raise max_input_tokens if the model allows it",
            )
        steps = -(-needed // _OLLAMA_CONTEXT_STEP)
        arguments["num_ctx"] = min(steps * _OLLAMA_CONTEXT_STEP, limit)
        return arguments


def _left_unseen(deployment: Deployment, wire: Wire, error: BaseException | None) -> bool:
    """Whether a call that never came by our transport may have reached its provider by another client of LiteLLM's.

    `error` is what LiteLLM raised, None for a reply. Only what it refused itself, in the words of a provider's
    refusal or for want of a package, is known not to have left.
    """
    if wire.reached:
        return False
    if error is None:
        return True
    provider = str(deployment.parameters.get("custom_llm_provider") or deployment.model.partition("/")[0])
    if provider in WATCHED_PROVIDERS:
        return False
    status = getattr(error, "status_code", None)
    if isinstance(status, int) and kind_of_status(status, body=str(error).encode())[1]:
        return False
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, ImportError):
            return False
        link = link.__cause__ or link.__context__
    return True


async def _withdrawable(work: Coroutine[Any, Any, T], wire: Wire, deployment: Deployment) -> T:
    """Await `work`; a cancellation stops it once its request has left, and keeps the request from leaving before.

    LiteLLM prepares a call in a thread and cannot be cancelled cleanly there: it leaves coroutines unawaited.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if wire.sent:
            task.cancel()
        else:
            wire.withdrawn = True
        while not task.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({task})
        if not task.cancelled():
            wire.sent = wire.sent or _left_unseen(deployment, wire, task.exception())
        raise


async def _complete(litellm: ModuleType, arguments: Mapping[str, Any]) -> tuple[str | None, str]:
    """Return the reply's text and finish reason; None when there is no message in it."""
    # Each time, because tests and libraries reset filters: what these remark about each other is not for users.
    warnings.filterwarnings("ignore", module=r"(aiohttp|httpx|litellm|openai|pydantic)(\.|$)")
    response = await litellm.acompletion(**arguments)
    if arguments.get("stream") is not True:
        choices = response.choices
        if not choices:
            return None, ""
        return choices[0].message.content or "", choices[0].finish_reason or "stop"
    parts: list[str] = []
    finish = ""
    async for chunk in response:
        for choice in chunk.choices:
            parts.append(choice.delta.content or "")
            finish = choice.finish_reason or finish
    return "".join(parts), finish or "stop"


def _checked(said: WireReply, deployment: Deployment) -> tuple[Usage | None, tuple[Flag, ...]]:
    """The usage if it can be true for this deployment, and a flag when it is missing or cannot."""
    if said.odd:
        return None, (Flag.ODD_USAGE,)
    if said.usage is None:
        return None, (Flag.NO_USAGE,)
    context = deployment.max_input_tokens
    if context is not None and said.usage.input_tokens > context:
        return None, (Flag.ODD_USAGE,)
    return said.usage, ()


def _with_max_price(given: object, deployment: Deployment, request: CallRequest) -> dict[str, Any]:
    """OpenRouter chooses among vendors of a model: none dearer than what the hold reckons with, in $ per million."""
    body = dict(given) if isinstance(given, Mapping) else {}
    provider = body.get("provider")
    ceiling = deployment.price.ceiling(request.input_bound)
    body["provider"] = {
        **(provider if isinstance(provider, Mapping) else {}),
        "max_price": {"prompt": float(ceiling.input.dollars), "completion": float(ceiling.output.dollars)},
    }
    return body


def _is_strict(schema: object) -> bool:
    """Whether a schema keeps to the strict subset: every object closed, every property required."""
    if isinstance(schema, Mapping):
        if "properties" in schema and not (
            schema.get("additionalProperties") is False
            and set(schema.get("required", ())) == set(schema["properties"])
        ):
            return False
        return all(_is_strict(value) for value in schema.values())
    if isinstance(schema, list | tuple):
        return all(_is_strict(value) for value in schema)
    return True


_loading = threading.Lock()


def loaded_litellm() -> ModuleType:
    """LiteLLM, imported on first use: offline prices, no `.env` of the current directory, silent, watched."""
    with _loading:
        # Read at import: without them it fetches its price map, and loads ./.env into our environment.
        os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
        os.environ["LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS"] = "True"
        os.environ["LITELLM_MODE"] = "PRODUCTION"
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        import litellm

        from orchestrator.adapters.models_wire import record_exchanges

        litellm.suppress_debug_info = True
        litellm.set_verbose = False
        litellm.telemetry = False
        litellm.drop_params = False
        # Else it downloads a tokenizer to count what a Llama stream does not state.
        litellm.disable_hf_tokenizer_download = True
        for callbacks in ("callbacks", "success_callback", "failure_callback", "input_callback"):
            getattr(litellm, callbacks).clear()
        for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        record_exchanges()
        module: ModuleType = litellm
        return module


async def close_connections() -> None:
    """Close this event loop's connections to providers; without a call so far there are none."""
    import sys

    if "orchestrator.adapters.models_wire" in sys.modules:
        from orchestrator.adapters import models_wire

        await models_wire.close_connections()
