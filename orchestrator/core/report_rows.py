"""The rows of a report: what became of each attempt and of each subtask, and what the ledger has of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from orchestrator.core.domain import AttemptId, Ended, ModelAlias, Outcome, State, Subtask, Verdict
from orchestrator.core.ledger import Entry, HoldState
from orchestrator.core.money import ZERO, Usage, Usd

# Of a subtask that was under way when the process which carried the run out ended.
CUT_OFF = "cut off, delivered again by `resume`"
NO_TOKENS = Usage(input_tokens=0, output_tokens=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRow:
    """One attempt; `refused` is why its work did not land after it had passed, `kept_ref` where it can be looked at.

    `calls` and `usage` are the ledger's where it has the attempt; `called` names the deployments. `cut_off`: it has no
    outcome, and nobody works on it; `delivered_again`: a delivery before this one was cut off.
    """

    attempt: AttemptId
    model: ModelAlias | None
    outcome: Outcome | None
    bill: Usd
    started_at: str = ""
    ended_at: str = ""
    refused: str = ""
    kept_ref: str | None = None
    calls: int = 0
    usage: Usage = NO_TOKENS
    called: tuple[str, ...] = ()
    cut_off: bool = False
    delivered_again: bool = False

    @property
    def ran(self) -> bool:
        """Whether it did anything: without room or a model an attempt ends before its first call."""
        outcome = self.outcome
        return outcome is None or bool(self.calls) or outcome.ended not in (Ended.NO_ROOM, Ended.NO_MODEL)

    @property
    def sent_unknown(self) -> bool:
        """Whether calls were made of which no outcome says, nor will say, what files went with them."""
        if self.outcome is None:
            return self.cut_off and bool(self.calls)
        more = self.calls > self.outcome.calls
        return more and (self.delivered_again or not self.outcome.files_sent)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubtaskRow:
    """One subtask; `standing` says why it waits or was blocked, `verdict` the one it landed with.

    `superseded`: an earlier plan had it, and the plan in force has not.
    """

    subtask: Subtask
    state: State
    standing: str
    attempts: tuple[AttemptRow, ...]
    bill: Usd
    seconds: float
    commit: str | None = None
    verdict: Verdict | None = None
    document: str | None = None
    undone: bool = False
    superseded: bool = False

    @property
    def escalated(self) -> bool:
        models = {row.model for row in self.attempts if row.model is not None and row.ran}
        return len(models) > 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Charges:
    """What the ledger has of one attempt. `all_told`: every call that counts came with its tokens."""

    bill: Usd
    calls: int
    usage: Usage
    called: tuple[str, ...]
    all_told: bool

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> Charges:
        called = [entry for entry in entries if entry.state is not HoldState.RELEASED]
        return cls(
            bill=add_up(entry.counted for entry in called),
            calls=len(called),
            usage=Usage(
                input_tokens=sum(entry.input_tokens or 0 for entry in called),
                output_tokens=sum(entry.output_tokens or 0 for entry in called),
                cache_read_tokens=sum(entry.cache_read_tokens or 0 for entry in called),
                cache_write_tokens=sum(entry.cache_write_tokens or 0 for entry in called),
                reasoning_tokens=sum(entry.reasoning_tokens or 0 for entry in called),
            ),
            called=tuple(dict.fromkeys(entry.deployment for entry in called)),
            all_told=all(entry.input_tokens is not None for entry in called),
        )


def with_charges(row: AttemptRow, charges: Charges | None) -> AttemptRow:
    """The attempt with what it took: the ledger knows it also for one that was cut off and delivered again."""
    outcome = row.outcome
    calls, usage = (outcome.calls, outcome.usage) if outcome is not None else (0, NO_TOKENS)
    if charges is None:
        return replace(row, bill=ZERO, calls=calls, usage=usage)
    return replace(
        row,
        bill=charges.bill,
        calls=charges.calls,
        usage=charges.usage if charges.all_told or not calls else usage,
        called=charges.called,
    )


def add_up(amounts: Iterable[Usd]) -> Usd:
    return Usd(sum(amount.nano for amount in amounts))
