"""Small plans and outcomes, and a run played without any shell: what the tests of dispatch are built from."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from orchestrator.core.dispatch import Dispatch
from orchestrator.core.domain import (
    CHEAP,
    AttemptId,
    Ended,
    Estimate,
    Limits,
    ModelAlias,
    Outcome,
    Plan,
    Provenance,
    Range,
    Subtask,
    SubtaskId,
    Tag,
    Tier,
    Verdict,
    VerdictKind,
)
from orchestrator.core.escalation import Escalation
from orchestrator.core.events import (
    AttemptFinished,
    AttemptStarted,
    Command,
    Event,
    Land,
    Start,
    SubtaskLanded,
)
from orchestrator.core.money import Usd

CHEAP_MODEL, SMART_MODEL = ModelAlias("cheap"), ModelAlias("smart")
TWO_RUNGS = Escalation(
    ladder=(CHEAP_MODEL, SMART_MODEL), tier_models={"cheap": CHEAP_MODEL, "smart": SMART_MODEL}
)
ONCE = Limits(attempts_per_rung=1)


def subtask(
    name: str,
    *,
    after: str = "",
    touches: tuple[str, ...] | None = (),
    seconds: int = 10,
    tier: Tier = CHEAP,
    **fields: object,
) -> Subtask:
    """A subtask that depends on the names in `after` (separated by spaces)."""
    tokens = Range(100, 200, 400)
    return Subtask(
        id=SubtaskId(name),
        title=name,
        instructions=f"do {name}",
        category="cheap/bug-fixes",
        tag=Tag(tier=tier, rule=f"{tier}/rule"),
        estimate=Estimate(
            input_tokens=tokens, output_tokens=tokens, seconds=Range(seconds, seconds, seconds)
        ),
        depends_on=tuple(SubtaskId(other) for other in after.split()),
        touches=touches,
        **fields,  # type: ignore[arg-type]  # the names of Subtask's own fields
    )


def plan(*subtasks: Subtask) -> Plan:
    return Plan(goal="a goal", subtasks=tuple(subtasks), made_from=Provenance(planner="test", commit="c0"))


CHAIN = plan(subtask("parse"), subtask("render", after="parse"), subtask("publish", after="render"))


def attempt(text: str) -> AttemptId:
    return AttemptId.parse(text)


def passed(**fields: object) -> Outcome:
    return Outcome(ended=Ended.PASSED, commit="c1", **fields)  # type: ignore[arg-type]


def rejected(reason: str = "1 test fails", **fields: object) -> Outcome:
    return Outcome(
        ended=Ended.REJECTED,
        verdict=Verdict(kind=VerdictKind.REJECTED),
        reason=reason,
        feedback=f"feedback: {reason}",
        **fields,  # type: ignore[arg-type]
    )


def no_room(needs: str = "0.10") -> Outcome:
    return Outcome(ended=Ended.NO_ROOM, reason=f"needs ${needs}", needs=Usd.of(needs))


def started(text: str, model: ModelAlias | None = CHEAP_MODEL) -> AttemptStarted:
    return AttemptStarted(attempt=attempt(text), model=model)


def finished(text: str, outcome: Outcome | None = None) -> AttemptFinished:
    return AttemptFinished(attempt=attempt(text), outcome=outcome or passed())


def landed(text: str) -> SubtaskLanded:
    return SubtaskLanded(attempt=attempt(text), commit="c1")


def starts(commands: Iterable[Command]) -> list[str]:
    """The attempts these commands start, with the model where it is not the cheap one."""
    return [
        str(command.attempt) + ("" if command.model in (CHEAP_MODEL, None) else f" on {command.model}")
        for command in commands
        if isinstance(command, Start)
    ]


def play(
    dispatch: Dispatch,
    outcome_of: Callable[[AttemptId], Outcome],
    *,
    commands: Iterable[Command] | None = None,
    seen: Callable[[Event], None] = lambda event: None,
) -> list[Command]:
    """Perform everything at once, oldest command first; return the commands that are for the runner alone."""
    queue = list(dispatch.begin() if commands is None else commands)
    rest: list[Command] = []
    while queue:
        command = queue.pop(0)
        events: list[Event] = []
        match command:
            case Start():
                events.append(AttemptStarted(attempt=command.attempt, model=command.model))
                events.append(AttemptFinished(attempt=command.attempt, outcome=outcome_of(command.attempt)))
            case Land():
                events.append(SubtaskLanded(attempt=command.attempt, commit="c1"))
            case _:
                rest.append(command)
        for event in events:
            seen(event)
            queue += dispatch.handle(event)
    return rest


def states(dispatch: Dispatch) -> dict[str, str]:
    return {subtask_id: state.value for subtask_id, state in dispatch.states().items()}


def run_through(dispatch: Dispatch, *events: Event) -> list[str]:
    """Begin, handle the events, and return all attempts that were started."""
    commands = dispatch.begin()
    for event in events:
        commands += dispatch.handle(event)
    return starts(commands)
