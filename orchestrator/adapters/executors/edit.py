"""The built-in executor: shows a model the files, applies the edits of its reply, or takes its document."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from orchestrator.adapters.beneath import Beneath, PathRefused
from orchestrator.adapters.context import Context, ContextPack
from orchestrator.adapters.prompts import render
from orchestrator.core.domain import Check, Deliverable
from orchestrator.core.edits import Deletion, Edit, Rename, Replacement, read_reply
from orchestrator.core.matching import Applied, apply_replacement
from orchestrator.core.money import Usage
from orchestrator.core.ports import (
    ExecutorFailed,
    Message,
    Model,
    ModelReply,
    ModelRequest,
    Produced,
    Work,
)
from orchestrator.core.routing import least_useful_output
from orchestrator.core.text import one_line

CONTEXT_TOKENS = 12_000
ROUNDS = 2

ListFiles = Callable[[str], Awaitable[Sequence[str]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class EditExecutor:
    """Asks `model` at most `rounds` times per attempt; only a reply that cannot be applied is asked again.

    `list_files` gives the files of a worktree that git tracks; `denied` are further globs that no model sees.
    """

    model: Model
    list_files: ListFiles
    denied: tuple[str, ...] = ()
    context_tokens: int = CONTEXT_TOKENS
    rounds: int = ROUNDS

    async def execute(self, work: Work) -> Produced:
        """Edit `work.worktree`, whole replies only. Raises ExecutorFailed with what to tell the next attempt."""
        if work.route is None:
            raise ExecutorFailed("an edit needs a model, and none was chosen")
        context = Context(work.worktree, await self.list_files(work.worktree), denied=self.denied)
        pack = context.pack(work.subtask, max_tokens=self.context_tokens)
        messages = list(_prompt(work, pack))
        spent = Produced(summary="", files_sent=pack.paths)
        problems: tuple[str, ...] = ()
        said: str | None = None
        for _ in range(self.rounds):
            reply = await self._ask(work, messages, pack)
            spent = _added(spent, reply)
            if work.subtask.deliverable is Deliverable.DOCUMENT:
                return replace(spent, summary=one_line(reply.text, 200), document=reply.text.strip())
            if reply.text == said:
                problems = (*problems, "the model gave the same reply again")
                break
            said = reply.text
            asked = read_reply(reply.text)
            problems = _cut_off(reply) + asked.problems or _apply(context, work, asked.edits)
            if not problems:
                return replace(spent, summary=asked.summary)
            messages += [
                Message(role="assistant", content=reply.text),
                Message(role="user", content=_again(problems)),
            ]
        raise ExecutorFailed(
            f"the reply could not be applied: {one_line('; '.join(problems), 240)}",
            feedback="Nothing of your reply was applied:\n"
            + "\n".join(f"- {problem}" for problem in problems),
            spent=spent,
        )

    async def _ask(self, work: Work, messages: Iterable[Message], pack: ContextPack) -> ModelReply:
        assert work.route is not None
        return await self.model.complete(
            ModelRequest(
                model=work.route.model,
                messages=tuple(messages),
                max_output_tokens=work.route.max_output_tokens,
                least_output_tokens=least_useful_output(work.subtask),
                purpose="attempt",
                run=work.run,
                attempt=work.attempt,
                files=pack.paths,
                category=work.subtask.category,
                run_cap=work.run_cap,
                attempt_cap=work.attempt_cap,
            )
        )


def _prompt(work: Work, pack: ContextPack) -> tuple[Message, Message]:
    """The stable part first, so that a provider's prompt cache can serve it."""
    return (
        Message(
            role="system", content=render("edit-system.md.j2", deliverable=work.subtask.deliverable.value)
        ),
        Message(
            role="user",
            content=render(
                "edit-user.md.j2",
                goal=one_line(work.goal, 2000),
                subtask=work.subtask,
                checks=[_named(check) for check in work.subtask.checks],
                dependencies=work.dependencies,
                files=pack.files,
                other_files=pack.other_files,
                feedback=work.feedback,
            ),
        ),
    )


def _named(check: Check) -> str:
    return f"{check.kind.value} {' '.join(check.targets)}"


def _cut_off(reply: ModelReply) -> tuple[str, ...]:
    if reply.finish_reason == "length":
        return ("the reply was cut off at its token limit: answer shorter, with fewer unchanged lines",)
    return ()


def _again(problems: Sequence[str]) -> str:
    listed = "\n".join(f"- {problem}" for problem in problems)
    return f"Nothing was applied, because:\n{listed}\n\nSend the whole reply again, with every block."


def _apply(context: Context, work: Work, edits: Sequence[Edit]) -> tuple[str, ...]:
    """Apply all edits or none; return what stands in the way."""
    problems: list[str] = []
    texts: dict[str, str | None] = {}

    def current(path: str) -> str | None:
        if path not in texts:
            if context.denies(path):
                raise PathRefused(path, "is never shown to a model or changed by one")
            found = context.beneath.read(path)
            texts[path] = None if found is None else context.text(path)
        return texts[path]

    for edit in edits:
        try:
            match edit:
                case Replacement():
                    applied = apply_replacement(current(edit.path), edit)
                    if isinstance(applied, Applied):
                        texts[edit.path] = applied.text
                    else:
                        problems.append(applied.why)
                case Deletion():
                    if current(edit.path) is None:
                        problems.append(f"{edit.path} cannot be deleted: there is no such file")
                    texts[edit.path] = None
                case Rename():
                    before = current(edit.old)
                    if before is None or current(edit.new) is not None:
                        problems.append(
                            f"{edit.old} cannot become {edit.new}: the one must be there, the other not"
                        )
                    texts[edit.old], texts[edit.new] = None, before
        except PathRefused as refusal:
            problems.append(str(refusal))
    if not problems:
        _write(context.beneath, texts, [edit for edit in edits if isinstance(edit, Rename)], problems)
    return tuple(problems)


def _write(
    beneath: Beneath, texts: dict[str, str | None], renames: Sequence[Rename], problems: list[str]
) -> None:
    try:
        for rename in renames:
            if beneath.read(rename.old) is not None and beneath.read(rename.new) is None:
                beneath.rename(rename.old, rename.new)
        for path, text in texts.items():
            if text is not None:
                beneath.write(path, text.encode("utf-8"))
            elif beneath.read(path) is not None:
                beneath.delete(path)
    except (PathRefused, UnicodeEncodeError) as refusal:
        problems.append(str(refusal))


def _added(spent: Produced, reply: ModelReply) -> Produced:
    usage = reply.usage or Usage(input_tokens=0, output_tokens=0)
    return replace(
        spent,
        answered_by=reply.answered_by,
        bill=spent.bill + reply.bill,
        calls=spent.calls + reply.calls,
        usage=Usage(
            input_tokens=spent.usage.input_tokens + usage.input_tokens,
            output_tokens=spent.usage.output_tokens + usage.output_tokens,
            cache_read_tokens=spent.usage.cache_read_tokens + usage.cache_read_tokens,
            cache_write_tokens=spent.usage.cache_write_tokens + usage.cache_write_tokens,
            reasoning_tokens=spent.usage.reasoning_tokens + usage.reasoning_tokens,
        ),
    )
