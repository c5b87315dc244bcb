"""The edit executor over a fake model: prompt, rounds, whole replies or nothing, documents, and what no model sees."""

import asyncio
import os
from dataclasses import dataclass, field, replace

import pytest

from orchestrator.adapters.context import Context
from orchestrator.adapters.executors.edit import EditExecutor
from orchestrator.core.domain import (
    AttemptId,
    Check,
    CheckKind,
    Deliverable,
    Evidence,
    ModelAlias,
    Route,
    RunId,
)
from orchestrator.core.money import Usage, Usd
from orchestrator.core.ports import ExecutorFailed, Feedback, ModelReply, ModelRequest, Work
from tests.adapters.repositories import subtask, write


@dataclass
class FakeModel:
    """Gives its replies in turn, the last one for ever; each costs a cent."""

    replies: list[str]
    finish_reason: str = "stop"
    asked: list[ModelRequest] = field(default_factory=list)

    async def complete(self, request: ModelRequest) -> ModelReply:
        self.asked.append(request)
        return ModelReply(
            text=self.replies[min(len(self.asked), len(self.replies)) - 1],
            model=request.model,
            answered_by="fake-1",
            vendor="fake",
            usage=Usage(input_tokens=100, output_tokens=10),
            bill=Usd.of("0.01"),
            finish_reason=self.finish_reason,
        )


ROUTE = Route(model=ModelAlias("cheap"), max_output_tokens=1000, worst_case=Usd.of("0.01"), reasons=())
FILES = {
    "app.py": "import lib\n\n\ndef run():\n    return lib.add(1, 2)\n",
    "src/lib.py": "def add(a, b):\n    return a - b\n",
    "tests/test_lib.py": "from lib import add\n\n\ndef test_add():\n    assert add(1, 2) == 3\n",
    ".env": "SECRET_TOKEN=hunter2\n",
    "latin.txt": "caf\xe9\n".encode("latin-1"),
    "README.md": "# it\n",
}
FIX = (
    "The sign was wrong.\n\n"
    "src/lib.py\n<<<<<<< SEARCH\n    return a - b\n=======\n    return a + b\n>>>>>>> REPLACE\n"
)


@pytest.fixture
def root(tmp_path):
    write(tmp_path / "wt", FILES)
    return tmp_path / "wt"


def work(root, **changes) -> Work:
    made = Work(
        run=RunId("r"),
        attempt=AttemptId("parse", 1),
        subtask=replace(
            subtask(touches=("src/**",)),
            checks=(Check(kind=CheckKind.TESTS, targets=("tests/test_lib.py",)),),
        ),
        goal="Make it right",
        worktree=str(root),
        route=ROUTE,
    )
    return replace(made, **changes)


def execute(model, work_):
    async def files(worktree):
        return sorted(FILES)

    return asyncio.run(EditExecutor(model=model, list_files=files).execute(work_))


def test_a_reply_is_applied_and_what_it_cost_is_told(root):
    model = FakeModel([FIX])
    produced = execute(model, work(root))
    assert (root / "src/lib.py").read_text() == "def add(a, b):\n    return a + b\n"
    assert (produced.summary, produced.calls, produced.answered_by) == ("The sign was wrong.", 1, "fake-1")
    assert produced.usage.input_tokens == 100
    assert "src/lib.py" in produced.files_sent and "tests/test_lib.py" in produced.files_sent
    (request,) = model.asked
    assert request.purpose == "attempt" and request.files == produced.files_sent


def test_the_prompt_shows_the_subtask_its_files_and_their_callers_and_no_secret(root):
    model = FakeModel([FIX])
    feedback = Feedback(
        attempt=AttemptId("parse", 1), model=ModelAlias("cheap"), reason="a test failed", text="boom"
    )
    fact = Evidence(path="src/lib.py", line=2, fact="subtracts")
    execute(model, work(root, feedback=(feedback,), subtask=replace(work(root).subtask, evidence=(fact,))))
    text = "\n".join(message.content for message in model.asked[0].messages)
    for expected in (
        "def add(a, b):", "assert add(1, 2) == 3", "import lib", "src/lib.py:2: subtracts", "tests tests/test_lib.py",
        "You may change only files that match: src/**", "did not pass: a test failed", "boom", "Make it right",
    ):  # fmt: skip
        assert expected in text
    assert "hunter2" not in text and "SECRET_TOKEN" not in text and ".env" not in text


def test_a_reply_that_does_not_fit_is_asked_again_with_the_reason(root):
    model = FakeModel([FIX.replace("return a - b", "return a * b"), FIX])
    produced = execute(model, work(root))
    assert produced.calls == 2 and produced.bill == ROUTE.worst_case + ROUTE.worst_case
    again = model.asked[1].messages[-1].content
    assert "Nothing was applied" in again and "src/lib.py" in again
    assert model.asked[1].messages[-2].role == "assistant"


def test_edits_are_applied_all_or_none(root):
    second = "\napp.py\n<<<<<<< SEARCH\nnowhere\n=======\nx\n>>>>>>> REPLACE\n"
    model = FakeModel([FIX + second, FIX + second + "\n"])
    with pytest.raises(ExecutorFailed) as failed:
        execute(model, work(root))
    assert (root / "src/lib.py").read_text() == FILES["src/lib.py"]
    assert "app.py" in failed.value.feedback and failed.value.spent.calls == 2


def test_the_same_reply_again_ends_it(root):
    model = FakeModel(["I cannot do that."])
    with pytest.raises(ExecutorFailed, match="same reply again") as failed:
        execute(model, work(root))
    assert len(model.asked) == 2 and failed.value.spent.calls == 2


def test_rounds_are_bounded_whatever_the_model_says(root):
    model = FakeModel([f"No. {number}" for number in range(1000)])
    with pytest.raises(ExecutorFailed):
        execute(model, work(root))
    assert len(model.asked) == 2


def test_a_thousand_edits_in_a_reply_are_one_reply(root):
    model = FakeModel(["\n".join(f"DELETE gone{number}.py" for number in range(1000))])
    with pytest.raises(ExecutorFailed) as failed:
        execute(model, work(root))
    assert len(model.asked) <= 2 and len(str(failed.value)) < 400


def test_a_reply_that_was_cut_off_is_never_applied(root):
    model = FakeModel([FIX], finish_reason="length")
    with pytest.raises(ExecutorFailed, match="cut off"):
        execute(model, work(root))
    assert (root / "src/lib.py").read_text() == FILES["src/lib.py"]


def test_files_are_made_deleted_and_renamed_with_their_modes(root):
    (root / "app.py").chmod(0o755)
    reply = (
        "Moved.\n\nRENAME app.py -> main.py\nDELETE README.md\n\n"
        "src/new.py\n<<<<<<< SEARCH\n=======\nX = 1\n>>>>>>> REPLACE\n"
        "\nmain.py\n<<<<<<< SEARCH\ndef run():\n=======\ndef main():\n>>>>>>> REPLACE\n"
    )
    execute(FakeModel([reply]), work(root))
    assert not (root / "app.py").exists() and not (root / "README.md").exists()
    assert (root / "src/new.py").read_text() == "X = 1\n"
    assert (root / "main.py").read_text() == FILES["app.py"].replace("run", "main")
    assert (root / "main.py").stat().st_mode & 0o777 == 0o755


def test_line_endings_stay_as_they_are(root):
    (root / "src/lib.py").write_bytes(b"def add(a, b):\r\n    return a - b\r\n")
    execute(FakeModel([FIX]), work(root))
    assert (root / "src/lib.py").read_bytes() == b"def add(a, b):\r\n    return a + b\r\n"


@pytest.mark.parametrize(
    ("path", "why"),
    [
        (".env", "never shown"),
        ("../out.py", "`..`"),
        (".git/hooks/x", "belongs to git"),
        ("latin.txt", "UTF-8"),
        ("link.py", "link"),
    ],
)
def test_edits_elsewhere_are_refused_by_name(root, path, why):
    (root / "link.py").symlink_to(root / "app.py")
    reply = f"{path}\n<<<<<<< SEARCH\n=======\nx\n>>>>>>> REPLACE\n"
    with pytest.raises(ExecutorFailed) as failed:
        execute(FakeModel([reply, reply + "\n"]), work(root))
    assert why in failed.value.feedback
    assert not (root.parent / "out.py").exists() and (root / ".env").read_text() == FILES[".env"]


def test_a_document_is_the_reply_itself_and_changes_nothing(root):
    model = FakeModel(["# Findings\n\nAll is well.\n"])
    produced = execute(model, work(root, subtask=subtask(deliverable=Deliverable.DOCUMENT)))
    assert produced.document == "# Findings\n\nAll is well."
    assert "Answer with the document itself" in model.asked[0].messages[0].content


def test_a_review_of_everything_is_shown_the_code_before_all_else(root):
    everywhere = subtask(touches=None, deliverable=Deliverable.DOCUMENT)
    produced = execute(FakeModel(["# Findings\n"]), work(root, subtask=everywhere))
    assert produced.files_sent == ("app.py", "src/lib.py", "tests/test_lib.py", "README.md")


def test_the_context_fits_its_budget_and_says_what_is_only_a_part(root):
    long = "".join(f"line {number}\n" for number in range(4000))
    write(root, {"src/long.py": long})
    context = Context(str(root), [*sorted(FILES), "src/long.py"])
    asked = replace(
        subtask(touches=("src/long.py",)), evidence=(Evidence(path="src/long.py", line=2000, fact="odd"),)
    )
    pack = context.pack(asked, max_tokens=1000)
    (shown,) = (file for file in pack.files if file.path == "src/long.py")
    assert shown.part.startswith("lines ") and shown.part.endswith("of 4000")
    assert "line 1999\n" in shown.text
    assert sum(len(file.text.encode()) for file in pack.files) <= 3000
    facts = tuple(Evidence(path="src/long.py", line=line, fact="odd") for line in (10, 3000))
    pack = context.pack(replace(asked, evidence=facts), max_tokens=1000)
    parts = [file for file in pack.files if file.path == "src/long.py"]
    assert ["line 9" in parts[0].text, "line 2999" in parts[1].text] == [True, True] and len(pack.paths) == 1


def test_a_link_in_the_worktree_is_not_read(root, tmp_path):
    (tmp_path / "secret").write_text("SECRET=hunter2\n")
    (root / "src/aim.py").symlink_to(tmp_path / "secret")
    pack = Context(str(root), [*sorted(FILES), "src/aim.py"]).pack(
        subtask(touches=("src/**",)), max_tokens=9000
    )
    assert "hunter2" not in "".join(file.text for file in pack.files)
    assert os.path.islink(root / "src/aim.py")  # noqa: PTH114
