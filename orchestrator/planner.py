"""Asks a model for a plan: its price first, then the question, then what is wrong with the answer, a bounded number
of times. What comes out has gone through the compiler, or nothing does.

Context shrinks until the call fits its share of the budget. Every call is held, billed and capped like any other.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from orchestrator.core.catalogue import Catalogue
from orchestrator.core.domain import (
    DecidedBy,
    ModelAlias,
    OrchestratorError,
    Plan,
    Problem,
    Provenance,
    RunId,
    Subtask,
)
from orchestrator.core.money import ZERO, Usd
from orchestrator.core.planning import (
    MODEL_LIMITS,
    MODEL_PLANNER,
    InvalidPlan,
    compile_plan,
    plan_from_json,
    plan_to_json,
    with_finished,
)
from orchestrator.core.ports import (
    BudgetExceeded,
    Flag,
    Message,
    Model,
    ModelReply,
    ModelRequest,
    ModelUnavailable,
    RequestRefused,
)
from orchestrator.core.standards import Standard
from orchestrator.core.text import one_line
from orchestrator.core.words import counted
from orchestrator.planner_brief import SIZES, Brief, File, PlanCache, Planned, Size

MAX_REPAIRS = 2
PLANNING_SECONDS = 600.0
_MAX_ECHO_CHARACTERS = 60_000


class PlanningTooDear(OrchestratorError):
    """Not even the smallest question fits the share of the budget that planning may use. Nothing was called."""

    exit_code = 3

    def __init__(self, *, needs: Usd, cap: Usd, model: ModelAlias) -> None:
        self.needs, self.cap = needs, cap
        super().__init__(
            f"planning may cost up to {needs.rounded()} on {model}, but its share of the budget is {cap.rounded()}: "
            f"raise --budget or `planning_share`, or plan with --offline"
        )


class PlanNotUsable(InvalidPlan):
    """No reply of the planner could be made into a plan; `bill` is what the tries cost.

    `left` is given when the planning share of the budget, not the number of tries, ended them.
    """

    def __init__(
        self, problems: Sequence[Problem], *, bill: Usd, calls: int, kept: str, left: Usd | None = None
    ) -> None:
        self.bill, self.calls = bill, calls
        super().__init__(problems)
        where = f"; the last reply is kept in {kept}" if kept else ""
        if left is not None:
            where = f"; the {left.rounded_down()} left for planning are too little to ask again{where}"
        self.args = (
            f"the planner's reply is not a plan after {counted(calls, 'call')} ({bill.rounded()} spent), "
            f"try again or plan with --offline{where}:\n{self}",
        )


@dataclass(frozen=True, slots=True)
class _Question:
    messages: tuple[Message, ...]
    files: tuple[str, ...]
    schema: Mapping[str, object] | None
    output_tokens: int


@dataclass(slots=True)
class _Tab:
    """What planning has cost so far, within what it may cost."""

    cap: Usd
    bill: Usd = ZERO
    calls: int = 0
    vendor: str = ""
    files: tuple[str, ...] = ()

    @property
    def left(self) -> Usd:
        return self.cap - self.bill


@dataclass(frozen=True, slots=True, kw_only=True)
class Planner:
    """Makes plans with the model `alias`. `say` tells the user a line; `keep` stores a reply that was not usable.

    `render(template, **values)` fills a prompt, `bound(messages, schema)` counts its tokens from above, `pack(bytes)`
    chooses the most relevant files that may be sent, `digest(*parts)` names a question.
    """

    model: Model
    catalogue: Catalogue
    alias: ModelAlias
    render: Callable[..., str]
    bound: Callable[[Sequence[Message], Mapping[str, object] | None], int]
    pack: Callable[[int], Sequence[File]]
    digest: Callable[..., str]
    cache: PlanCache | None
    say: Callable[[str], None]
    keep: Callable[[str], str]
    run: RunId | None = None
    deadline_seconds: float = PLANNING_SECONDS
    _sizes: tuple[Size, ...] = field(default=SIZES, repr=False)

    async def plan(self, brief: Brief, *, cap: Usd, fresh: bool = False) -> Planned:
        """Return a compiled plan for at most `cap` dollars. `fresh` asks again what is in the cache.

        Raises PlanningTooDear, PlanNotUsable, and what the model raises (BudgetExceeded, ModelUnavailable ...).
        """
        question, worst = self._question(brief, cap)
        key = self._key(question, brief)
        if self.cache is not None and not fresh and (document := self.cache.get(key)) is not None:
            try:
                plan = plan_from_json(document)
            except InvalidPlan:
                self.say("the cached plan is damaged and is made again")
            else:
                self.say("planning: $0.00, the same question was answered before (--fresh asks again)")
                return Planned(plan=self._finished(brief, plan), cached=True)
        count = len(question.files)
        self.say(
            f"planning: at most {worst.rounded()} a call, {cap.rounded()} in all "
            f"({self.alias}, {counted(count, 'file')} of context)"
        )
        tab = _Tab(cap, files=question.files)
        plan, messages = await self._ask(question, brief, tab)
        plan = await self._expand(question, messages, brief, plan, tab)
        sent = _sent(tab)
        plan = replace(plan, notes=(*plan.notes, *([sent] if sent else [])))
        if self.cache is not None:
            self.cache.put(key, plan_to_json(plan))
        return Planned(
            plan=self._finished(brief, plan),
            bill=tab.bill,
            calls=tab.calls,
            files=tab.files,
            vendor=tab.vendor,
        )

    def worst_case(self, brief: Brief, *, cap: Usd) -> Usd:
        """The most the first call can cost. Raises PlanningTooDear."""
        return self._question(brief, cap)[1]

    # --- the question ---------------------------------------------------------------------------

    def _question(self, brief: Brief, cap: Usd) -> tuple[_Question, Usd]:
        """The largest question whose worst case fits the cap."""
        pool = self.catalogue.pool(self.alias)
        limits = [item.max_output_tokens for item in pool]
        context = [item.max_input_tokens for item in pool if item.max_input_tokens is not None]
        worst = ZERO
        for size in self._sizes:
            question = self._written(brief, size, min([size.output_tokens, *limits]))
            tokens = self.bound(question.messages, question.schema)
            if context and tokens > min(context):
                continue
            worst = self._price(tokens, question.output_tokens)
            if worst <= cap:
                return question, worst
        raise PlanningTooDear(needs=worst, cap=cap, model=self.alias)

    def _price(self, input_tokens: int, output_tokens: int) -> Usd:
        if not self.catalogue.pool(self.alias):
            # Without a usable deployment the call itself says what is missing.
            return ZERO
        return self.catalogue.worst_case(
            self.alias, input_tokens=input_tokens, max_output_tokens=output_tokens
        )

    def _written(self, brief: Brief, size: Size, output_tokens: int) -> _Question:
        files = tuple(self.pack(size.file_bytes)) if size.file_bytes else ()
        facts = brief.facts(size.fact_lines)
        current = plan_to_json(brief.current) if brief.current is not None else ""
        titles = {subtask.id: subtask.title for subtask in brief.current.subtasks} if brief.current else {}
        # Nothing that is marked can end its own mark: it would have to hold its own digest. That of the survey knows
        # nothing of the goal, so that another goal's prompt begins with the same text.
        survey = self.digest(facts, *(text for file in files for text in (file.path, file.text)))
        reasons = [text for failure in brief.failed for text in failure]
        mark = self.digest(survey, brief.goal, brief.remark, current, *reasons)[:8]
        system = self.render(
            "plan-system.md.j2",
            instructions=brief.instructions.strip(),
            tiers=brief.standard.tiers,
            mark=self.digest("standard", brief.standard.text)[:8],
        )
        # The same for every goal first, then what changes with the commit, the goal last: prompt caches go by prefix.
        user = self.render(
            "plan-user.md.j2",
            survey_mark=survey[:8],
            mark=mark,
            facts=facts,
            commands=brief.commands,
            files=files,
            current=current,
            answers=brief.answers,
            finished=[(name, titles.get(name, "")) for name in brief.finished],
            failed=[(name, titles.get(name, ""), reason) for name, reason in brief.failed],
            unwanted=[(name, titles.get(name, "")) for name in brief.unwanted],
            limit=brief.limit,
            paths=brief.paths,
            goal=brief.goal,
            remark=brief.remark,
        )
        return _Question(
            messages=(Message(role="system", content=system), Message(role="user", content=user)),
            files=tuple(file.path for file in files),
            schema=_with_categories(brief.schema, brief.standard) if size.schema else None,
            output_tokens=output_tokens,
        )

    def _key(self, question: _Question, brief: Brief) -> str:
        models = [item.model for item in self.catalogue.pool(self.alias)]
        origin = json.dumps([getattr(brief.made_from, name) for name in Provenance.__slots__])
        texts = [message.content for message in question.messages]
        return self.digest("plan", self.alias, *models, origin, *texts)

    # --- the answers ----------------------------------------------------------------------------

    async def _ask(self, question: _Question, brief: Brief, tab: _Tab) -> tuple[Plan, tuple[Message, ...]]:
        """Ask, and show the problems until there are none or the rounds are used up."""
        messages = question.messages
        for rounds in range(MAX_REPAIRS + 1):
            reply = await self._call(question, messages, brief, tab)
            try:
                return self._compiled(reply, brief, brief.limit), (*messages, _echo(reply))
            except InvalidPlan as error:
                problems = _cut(reply, question) + error.problems
            repaired = (
                *messages,
                _echo(reply),
                Message(role="user", content=self.render("plan-repair.md.j2", problems=problems)),
            )
            room = self._room(question, repaired, tab, least=_tokens(reply.text))
            if rounds == MAX_REPAIRS or room is None:
                raise PlanNotUsable(
                    problems,
                    bill=tab.bill,
                    calls=tab.calls,
                    kept=self.keep(reply.text),
                    left=tab.left if rounds < MAX_REPAIRS else None,
                )
            question, price = room
            self.say(
                f"the planner's reply has {counted(len(problems), 'problem')} "
                f"({one_line(str(problems[0]), 80)}); asking again for at most {price.rounded()}"
            )
            messages = repaired
        raise AssertionError("the last round returns or raises")

    async def _expand(
        self, question: _Question, messages: tuple[Message, ...], brief: Brief, plan: Plan, tab: _Tab
    ) -> Plan:
        """Have subtasks split that are too large for their category, once; without room or luck they stay smart."""
        large = [subtask for subtask in plan.subtasks if _moved_up(subtask)]
        if not large:
            return plan
        asked = (
            *messages,
            Message(role="user", content=self.render("plan-expand.md.j2", subtasks=large)),
        )
        # The answer before is the last message; this one says more.
        room = self._room(question, asked, tab, least=2 * _tokens(messages[-1].content))
        names = ", ".join(subtask.id for subtask in large)
        if room is None:
            self.say(f"too large for cheap, so smart: {one_line(names, 120)} (no room to have them split)")
            return plan
        question, price = room
        self.say(f"having {one_line(names, 120)} split for at most {price.rounded()}")
        try:
            reply = await self._call(question, asked, brief, tab)
            return self._compiled(reply, brief, 2 * brief.limit)
        except (InvalidPlan, BudgetExceeded, ModelUnavailable, RequestRefused) as error:
            # Whatever became of the second call, the plan is there and paid.
            self.say(f"they stay smart: {one_line(str(error), 120)}")
            return plan

    def _room(
        self, question: _Question, messages: tuple[Message, ...], tab: _Tab, *, least: int
    ) -> tuple[_Question, Usd] | None:
        """The question with the longest answer that still fits, and its price; None when none of `least` does."""
        tokens = self.bound(messages, question.schema)
        shorter = {size.output_tokens for size in self._sizes if least <= size.output_tokens}
        for output in sorted({question.output_tokens, *shorter}, reverse=True):
            price = self._price(tokens, output)
            if output <= question.output_tokens and price <= tab.left:
                return replace(question, output_tokens=output), price
        return None

    async def _call(
        self, question: _Question, messages: tuple[Message, ...], brief: Brief, tab: _Tab
    ) -> ModelReply:
        reply = await self.model.complete(
            ModelRequest(
                model=self.alias,
                messages=messages,
                max_output_tokens=question.output_tokens,
                purpose="planning",
                run=self.run,
                schema=question.schema,
                schema_name="plan",
                deadline_seconds=self.deadline_seconds,
                files=question.files,
                bill_cap=tab.left,
            )
        )
        tab.bill += reply.bill
        tab.calls += reply.calls
        tab.vendor = reply.vendor
        return reply

    def _compiled(self, reply: ModelReply, brief: Brief, limit: int) -> Plan:
        made_from = replace(brief.made_from, planner=MODEL_PLANNER, model=reply.answered_by)
        plan = compile_plan(
            reply.text,
            goal=brief.goal,
            standard=brief.standard,
            made_from=made_from,
            limits=replace(MODEL_LIMITS, max_subtasks=min(limit, MODEL_LIMITS.max_subtasks)),
            commands=brief.commands,
            files=brief.lines,
            scope=brief.paths,
        )
        return _with_users_wishes(plan, brief)

    def _finished(self, brief: Brief, plan: Plan) -> Plan:
        """The plan with what was done before it and without what nobody wants, when it is one for what was left."""
        if brief.current is None:
            return plan
        plan = _without(plan, [subtask for subtask in brief.current.subtasks if subtask.id in brief.unwanted])
        if not brief.finished:
            return plan
        tried = {name for name, _ in brief.failed}
        done = [subtask for subtask in brief.current.subtasks if subtask.id in brief.finished]
        return with_finished(plan, done, taken={*tried, *(subtask.id for subtask in brief.current.subtasks)})


def _without(plan: Plan, unwanted: Sequence[Subtask]) -> Plan:
    """The plan without subtasks of these names or titles; what was to wait for them does not."""
    names = {subtask.id for subtask in unwanted}
    titles = {subtask.title for subtask in unwanted}
    out = {subtask.id for subtask in plan.subtasks if subtask.id in names or subtask.title in titles}
    return replace(
        plan,
        subtasks=tuple(
            replace(subtask, depends_on=tuple(other for other in subtask.depends_on if other not in out))
            for subtask in plan.subtasks
            if subtask.id not in out
        ),
    )


def _moved_up(subtask: Subtask) -> bool:
    """Whether the token bound, not the rule, made it smart."""
    tier, _, _ = subtask.tag.rule.partition("/")
    return subtask.tag.decided_by is not DecidedBy.USER and tier != subtask.tag.tier


def _tokens(text: str) -> int:
    """How many tokens a model may need to write such a text, roughly but rather too many."""
    return len(text.encode()) // 3 + 500


def _echo(reply: ModelReply) -> Message:
    return Message(role="assistant", content=reply.text[:_MAX_ECHO_CHARACTERS] or "(empty)")


def _cut(reply: ModelReply, question: _Question) -> tuple[Problem, ...]:
    if reply.finish_reason != "length" and Flag.CUT not in reply.flags:
        return ()
    what = f"was cut off at {question.output_tokens} tokens: plan fewer subtasks, with shorter instructions"
    return (Problem(where="reply", what=what),)


def _with_categories(schema: Mapping[str, object], standard: Standard) -> Mapping[str, object]:
    """The reply schema with the rules of this standard as the only categories."""
    copy = json.loads(json.dumps(schema))
    subtask = copy["properties"]["subtasks"]["items"]["properties"]
    subtask["category"]["enum"] = [rule.id for rule in standard.rules]
    return copy  # type: ignore[no-any-return]  # a copy of a mapping


def _with_users_wishes(plan: Plan, brief: Brief) -> Plan:
    """Tags the user chose stay on subtasks that are still there, and answers on their questions."""
    if brief.current is None:
        return plan
    chosen = {
        subtask.id: subtask.tag
        for subtask in brief.current.subtasks
        if subtask.tag.decided_by is DecidedBy.USER
    }
    given = {
        question.id: question.answer for question in brief.current.questions if question.answer is not None
    }
    return replace(
        plan,
        subtasks=tuple(
            replace(subtask, tag=chosen[subtask.id]) if subtask.id in chosen else subtask
            for subtask in plan.subtasks
        ),
        questions=tuple(
            replace(question, answer=given[question.id]) if question.id in given else question
            for question in plan.questions
        ),
    )


def _sent(tab: _Tab) -> str:
    if not tab.files:
        return f"planned by {tab.vendor} from the survey alone, no file was sent" if tab.vendor else ""
    return f"sent to {tab.vendor} for planning: {', '.join(tab.files)}"
