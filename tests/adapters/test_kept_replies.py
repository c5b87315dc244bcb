"""Replies an attempt has paid for are there again when it is delivered a second time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.adapters.kept_replies import KeptReplies
from orchestrator.adapters.outcomes import write_outcome
from orchestrator.adapters.scripted import ScriptedProvider
from orchestrator.core.domain import AttemptId, Ended, ModelAlias, Outcome, SubtaskId
from orchestrator.core.money import Usage, Usd
from orchestrator.core.ports import Flag, Message, ModelReply, ModelRequest
from tests.adapters.model_fakes import RecordingLedger, catalogue, deployment, metered

REQUEST = ModelRequest(
    model=ModelAlias("cheap"),
    messages=(Message(role="user", content="Subtask: parse"),),
    max_output_tokens=100,
    purpose="attempt",
    attempt=AttemptId(SubtaskId("parse"), 1),
)
REPLY = ModelReply(
    text="done \u2713",
    model=ModelAlias("cheap"),
    answered_by="flash",
    vendor="google",
    usage=Usage(input_tokens=10, output_tokens=5),
    bill=Usd.of("0.000125"),
    flags=(Flag.CUT,),
)


def kept(folder: Path) -> KeptReplies:
    return KeptReplies(lambda attempt: folder / str(attempt))


def test_the_same_question_of_the_same_attempt_gets_the_same_reply(tmp_path: Path):
    kept(tmp_path).write(REQUEST, REPLY)
    assert kept(tmp_path).read(REQUEST) == REPLY


def test_another_subtask_question_or_model_gets_none(tmp_path: Path):
    kept(tmp_path).write(REQUEST, REPLY)
    for other in (
        replace(REQUEST, attempt=AttemptId(SubtaskId("render"), 1)),
        replace(REQUEST, messages=(Message(role="user", content="Subtask: render"),)),
        replace(REQUEST, model=ModelAlias("smart")),
    ):
        assert kept(tmp_path).read(other) is None


def test_a_limit_that_the_dollars_left_have_changed_meanwhile_makes_no_other_question(tmp_path: Path):
    kept(tmp_path).write(REQUEST, REPLY)
    assert kept(tmp_path).read(replace(REQUEST, max_output_tokens=70)) == REPLY
    cut_off = replace(REPLY, finish_reason="length", usage=Usage(input_tokens=10, output_tokens=100))
    kept(tmp_path).write(REQUEST, cut_off)
    assert kept(tmp_path).read(REQUEST) == cut_off
    # With more room it would have gone on.
    assert kept(tmp_path).read(replace(REQUEST, max_output_tokens=200)) is None


def test_what_an_attempt_without_an_outcome_has_paid_for_is_the_next_ones(tmp_path: Path):
    second = replace(REQUEST, attempt=AttemptId(SubtaskId("parse"), 2))
    kept(tmp_path).write(REQUEST, REPLY)
    assert kept(tmp_path).read(second) == REPLY
    write_outcome(tmp_path / "parse#1", Outcome(ended=Ended.REJECTED))
    assert kept(tmp_path).read(second) is None


def test_a_request_without_an_attempt_is_not_kept(tmp_path: Path):
    kept(tmp_path).write(replace(REQUEST, attempt=None), REPLY)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_counts_as_none(tmp_path: Path):
    kept(tmp_path).write(REQUEST, REPLY)
    (path,) = tmp_path.rglob("*.json")
    path.write_text(path.read_text()[:40])
    assert kept(tmp_path).read(REQUEST) is None


async def test_a_crash_between_reply_and_settlement_asks_the_provider_only_once(tmp_path: Path):
    class Crash(RecordingLedger):
        async def settle(self, hold: int, **told: object) -> Usd:
            raise OSError("the power went")

    with ScriptedProvider('{"rules": [{"text": "done"}]}') as provider:
        models = catalogue(deployment(provider.url))
        with pytest.raises(OSError, match="the power went"):
            await metered(models, Crash(), replies=kept(tmp_path)).complete(REQUEST)
        ledger = RecordingLedger()
        model = metered(models, ledger, replies=kept(tmp_path))
        assert (await model.complete(REQUEST)).text == "done"
        await model.close()
        assert len(provider.calls) == 1
        assert ledger.entries == [], "the first hold stays charged; there is no second one"
