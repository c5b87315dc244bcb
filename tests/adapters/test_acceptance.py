"""accept, accept --except, undo and prune: nothing forced, nothing lost, always a way back."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestrator.adapters.acceptance import AcceptRefused, How, NotLanded, accept, undo, without
from orchestrator.adapters.formats.carried_ticks import carried_ticks
from orchestrator.adapters.formats.detection import read_tasks
from orchestrator.adapters.git import Repository
from orchestrator.adapters.merging import Carry
from orchestrator.adapters.pruning import clear_never_begun, prune
from orchestrator.adapters.workspaces import GitWorkspaces
from orchestrator.core.domain import AttemptId, OrchestratorError, RunId, SubtaskId
from orchestrator.core.ports import Conflict
from tests.adapters.repositories import belongings, commit_all, git, make_repository, make_untidy, write

RUN = RunId("20261123-100000-abcd")
BRANCH = f"orchestrator/{RUN}"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place = tmp_path / "user"
    make_repository(place)
    return place


@pytest.fixture
async def spaces(root: Path, tmp_path: Path) -> GitWorkspaces:
    """A run of three landed subtasks: one, two (builds on one), three."""
    repository = Repository.open(root)
    made = GitWorkspaces(repository, run=RUN, base=repository.head(), state=tmp_path / "state")
    await made.start()
    await land(made, "one", {"app.py": "ONE\ntwo\nthree\n", "new/one.txt": "1\n"})
    await land(made, "two", {"app.py": "ONE\nTWO\nthree\n"})
    await land(made, "three", {"three.txt": "3\n"})
    return made


async def land(spaces: GitWorkspaces, name: str, files: dict[str, str]) -> None:
    attempt = AttemptId(SubtaskId(name), 1)
    worktree = await spaces.create(attempt)
    write(Path(worktree.path), files)
    trailers = {"Orchestrator-Subtask": name, "Orchestrator-Attempt": str(attempt)}
    commit = await spaces.commit(worktree, message=f"Do {name}", trailers=trailers)
    await spaces.advance(commit, expected=worktree.base)
    await spaces.remove(worktree)


def state(root: Path) -> Path:
    return root.parent / "state"


def take(root: Path, branch: str | None = None) -> str:
    return accept(Repository.open(root), run=RUN, state=state(root), branch=branch).how


async def test_accept_fast_forwards_a_dirty_checkout_and_can_be_taken_back_exactly(
    root: Path, spaces: GitWorkspaces
):
    make_untidy(root)
    before, head = belongings(root), git(root, "rev-parse", "HEAD")
    done = accept(spaces.repository, run=RUN, state=state(root))
    assert (done.how, done.branch, done.before, done.commits) == (How.FAST_FORWARD, "main", head, 3)
    assert done.after == git(root, "rev-parse", "HEAD") == git(root, "rev-parse", BRANCH)
    assert done.files == ("app.py", "new/one.txt", "three.txt")
    assert (root / "app.py").read_text() == "ONE\nTWO\nthree\n"
    assert git(root, "status", "--porcelain") == " M README.md\nA  staged.txt\n?? .env\n?? untracked/"
    assert take(root) == How.NOTHING

    assert re.fullmatch(r"git reset --keep [0-9a-f]{12}", done.take_back)
    git(root, *done.take_back.split()[1:])
    after = belongings(root)
    for name in (".git/index", ".git/ORIG_HEAD", ".git/logs/HEAD", ".git/logs/refs/heads/main"):
        before.pop(name, None), after.pop(name, None)
    assert after == before


async def test_accept_merges_when_the_branch_went_on(root: Path, spaces: GitWorkspaces):
    write(root, {"mine.txt": "mine\n"})
    head = commit_all(root)
    done = accept(spaces.repository, run=RUN, state=state(root))
    assert done.how == How.MERGE
    assert git(root, "log", "-1", "--format=%P") == f"{head} {git(root, 'rev-parse', BRANCH)}"
    assert git(root, "log", "-1", "--format=%s") == f"Merge {BRANCH} into main"
    assert (root / "mine.txt").exists() and (root / "three.txt").exists()
    assert git(root, "status", "--porcelain") == ""


async def test_a_merge_conflict_is_refused_and_the_checkout_does_not_notice(
    root: Path, spaces: GitWorkspaces
):
    write(root, {"app.py": "mine\ntwo\nthree\n"})
    commit_all(root)
    before = belongings(root)
    with pytest.raises(AcceptRefused, match=r"conflict in app\.py\); nothing was changed: run `git merge"):
        take(root)
    assert belongings(root) == before
    assert git(root, "worktree", "list").count("\n") == 0


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"app.py": "mine\n"}, r"uncommitted changes in app\.py are in the way, nothing was changed"),
        ({"three.txt": "mine\n"}, r"uncommitted changes in three\.txt are in the way"),
        (
            {"new/one.txt": "mine\n", ".gitignore": "new/\n"},
            r"new/one\.txt would be overwritten though git does",
        ),
        ({"new": "x\n", ".gitignore": "new\n"}, r"new would be overwritten though git does"),
        ({"new": "a file where the run has a directory\n"}, r"new would be overwritten though git does"),
    ],
)
async def test_files_of_the_users_in_the_way_are_refused_by_name(
    root: Path, spaces: GitWorkspaces, files: dict[str, str], reason: str
):
    write(root, files)
    before = belongings(root)
    with pytest.raises(AcceptRefused, match=reason):
        take(root)
    assert belongings(root) == before


def _detach(root: Path) -> None:
    git(root, "checkout", "-q", "--detach")


def _on_the_run_branch(root: Path) -> None:
    git(root, "checkout", "-q", BRANCH)


def _merging(root: Path) -> None:
    (root / ".git" / "MERGE_HEAD").write_text(git(root, "rev-parse", BRANCH) + "\n")


def _locked(root: Path) -> None:
    (root / ".git" / "index.lock").touch()


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (_detach, "HEAD is detached, so there is no branch to accept into"),
        (_on_the_run_branch, "itself is checked out: switch to the branch that is to have its commits"),
        (_merging, "a merge is in progress in the checkout: finish or abort it"),
        (_locked, r"index\.lock exists: another git command is running here"),
    ],
)
async def test_a_checkout_in_no_state_for_it_is_refused(
    root: Path, spaces: GitWorkspaces, prepare: object, reason: str
):
    prepare(root)  # type: ignore[operator]
    before = belongings(root)
    with pytest.raises(AcceptRefused, match=reason):
        take(root)
    assert belongings(root) == before


async def test_files_under_a_filter_of_the_repositorys_own_are_left_to_git(root: Path, spaces: GitWorkspaces):
    git(root, "config", "filter.crypt.smudge", "touch PWN; cat")
    (root / ".git" / "info" / "attributes").write_text("*.txt filter=crypt\n")
    with pytest.raises(AcceptRefused, match=r"three\.txt pass through a filter .* not run here"):
        take(root)
    assert not list(root.rglob("PWN"))


async def test_accept_works_in_a_linked_worktree(root: Path, spaces: GitWorkspaces, tmp_path: Path):
    linked = tmp_path / "linked"
    git(root, "worktree", "add", "-q", str(linked), "-b", "side")
    before = belongings(root)
    assert take(linked) == How.FAST_FORWARD
    assert (linked / "three.txt").exists() and git(linked, "status", "--porcelain") == ""
    after = belongings(root)
    assert {name for name in before if before[name] != after.get(name)} == {
        "refs/heads/side",
        ".git/refs/heads/side",
    }


async def test_except_leaves_subtasks_out_and_refuses_what_builds_on_them(root: Path, spaces: GitWorkspaces):
    repository, base = spaces.repository, spaces.base
    tip = git(root, "rev-parse", BRANCH)
    with pytest.raises(AcceptRefused, match=r"two builds on what is to be left out .* leave it out too"):
        without(repository, run=RUN, base=base, state=state(root), drop=[SubtaskId("one")])
    drop = [SubtaskId("one"), SubtaskId("two")]
    branch = without(repository, run=RUN, base=base, state=state(root), drop=drop)
    assert without(repository, run=RUN, base=base, state=state(root), drop=drop) == branch
    assert take(root, branch) == How.FAST_FORWARD
    assert git(root, "log", "--format=%s") == "Do three\nfirst"
    assert git(root, "rev-parse", BRANCH) == tip
    with pytest.raises(NotLanded, match=r"no commit of thre is on the run branch, did you mean 'three'\?"):
        without(repository, run=RUN, base=base, state=state(root), drop=[SubtaskId("thre")])


async def test_undo_reverts_a_subtask_once_and_names_what_builds_on_it(root: Path, spaces: GitWorkspaces):
    with pytest.raises(Conflict, match=r"one cannot be undone, later commits build on it"):
        await undo(spaces, SubtaskId("one"))
    undone = await undo(spaces, SubtaskId("two"), note="it was wrong")
    assert (Path(undone.worktree.path) / "app.py").read_text() == "ONE\ntwo\nthree\n"
    await spaces.advance(undone.commit, expected=undone.expected)
    await spaces.remove(undone.worktree)
    assert "Undo two: Do two\n\nit was wrong\n" in git(root, "log", "-1", "--format=%B", BRANCH)
    with pytest.raises(NotLanded, match=r"there are one, three"):
        await undo(spaces, SubtaskId("two"))
    undone = await undo(spaces, SubtaskId("one"))
    await spaces.advance(undone.commit, expected=undone.expected)
    await spaces.remove(undone.worktree)
    assert git(root, "diff", "--stat", "main", BRANCH).splitlines()[0].split() == ["three.txt", "|", "1", "+"]
    assert git(root, "worktree", "list").count("\n") == 0


async def test_prune_removes_what_was_accepted_and_refuses_to_lose_the_rest(
    root: Path, spaces: GitWorkspaces
):
    rejected = await spaces.create(AttemptId(SubtaskId("four"), 1))
    write(Path(rejected.path), {"four.txt": "4\n"})
    repository = Repository.open(root)
    (report,) = prune(repository, state=state(root), active=[RUN])
    assert (report.removed, report.stays) == ((), ("the run is not finished",))

    (report,) = prune(repository, state=state(root))
    assert report.removed == ("worktree four.1",)
    assert report.stays == (
        f"refs/heads/{BRANCH} has 3 commits that are in no branch of yours",
        f"4 attempts that did not land stay under refs/orchestrator/{RUN}/: add --rejected to drop them",
    )
    assert git(root, "show", f"refs/orchestrator/{RUN}/four/1:four.txt") == "4"

    take(root)
    (report,) = prune(repository, state=state(root))
    assert [line.split(" ")[0] for line in report.removed] == [
        f"refs/heads/{BRANCH}",
        *(f"refs/orchestrator/{RUN}/{name}/1" for name in ("one", "three", "two")),
    ]
    assert report.stays[0].startswith("1 attempts that did not land stay")
    (report,) = prune(repository, state=state(root), rejected=True)
    assert git(root, "for-each-ref", "--format=%(refname)") == "refs/heads/main"
    assert prune(repository, state=state(root)) == ()


async def test_worktrees_of_runs_that_never_began_are_cleared_away_and_no_others(
    root: Path, spaces: GitWorkspaces
):
    await spaces.checkout("baseline.0", spaces.base)
    git_directory = Path(spaces.repository.common_dir) / "worktrees"
    clear_never_begun(Repository.open(root), state=state(root), begun=lambda run: True)
    assert len(list(git_directory.iterdir())) == 1
    clear_never_begun(Repository.open(root), state=state(root), begun=lambda run: False)
    # As git does itself: nothing stays of the last worktree.
    assert not git_directory.exists()
    assert not spaces.worktrees.directory.exists()


async def test_prune_knows_commits_that_were_picked_or_rebased(root: Path, spaces: GitWorkspaces):
    write(root, {"mine.txt": "mine\n"})
    commit_all(root)
    git(root, "cherry-pick", f"main..{BRANCH}")
    (report,) = prune(Repository.open(root), state=state(root))
    assert report.stays == ()


async def test_prune_keeps_a_branch_whose_merge_was_resolved_by_hand(root: Path, spaces: GitWorkspaces):
    take(root)
    write(root, {"mine.txt": "mine\n"})
    commit_all(root)
    git(root, "checkout", "-q", BRANCH)
    git(root, "merge", "-q", "--no-ff", "--no-commit", "main")
    write(root, {"app.py": "resolved by hand\n"})
    commit_all(root, "Merge main")
    git(root, "checkout", "-q", "main")
    (report,) = prune(Repository.open(root), state=state(root))
    assert report.stays == (f"refs/heads/{BRANCH} has 1 commits that are in no branch of yours",)


def test_no_repository_to_work_with_is_a_clear_refusal(tmp_path: Path):
    bare, empty, plain, good = (tmp_path / name for name in ("bare", "empty", "plain", "good"))
    for place in (bare, empty, plain):
        place.mkdir()
    git(bare, "init", "-q", "--bare")
    git(empty, "init", "-q")
    make_repository(good)
    expected = {
        bare: "is a bare repository or inside a .git directory: run this in a checkout",
        empty: "has no commit yet: commit something first",
        plain: "is not in a git repository: run `git init` and commit something first",
        good / ".git": "is a bare repository or inside a .git directory",
        tmp_path / "gone": "is no directory",
    }
    for place, reason in expected.items():
        with pytest.raises(OrchestratorError, match=re.escape(reason)):
            Repository.open(place)
    with pytest.raises(OrchestratorError, match="git is not installed, or not on PATH"):
        Repository.open(good, {"PATH": str(plain), "HOME": str(plain)})
    old = tmp_path / "bin" / "git"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho git version 2.17.1\n")
    old.chmod(0o755)
    with pytest.raises(OrchestratorError, match=r"git 2\.17\.1 is too old: install git 2\.31 or newer"):
        Repository.open(good, {"PATH": f"{old.parent}:/usr/bin:/bin", "HOME": str(plain)})
    assert Repository.open(good / "src").root == good


def test_names_that_are_no_commits_are_refused_and_never_options(root: Path):
    repository = Repository.open(root)
    assert repository.commit("main") == repository.head() == repository.ref("refs/heads/main")
    for name in ("--output=PWN", "-n", "", "gone", "a\nb", "HEAD:app.py", "$(touch PWN)"):
        with pytest.raises(OrchestratorError, match="is no commit of"):
            repository.commit(name)
    assert repository.read_blob("HEAD", "src/lib.py") == b"lib\n"
    assert repository.read_blob("HEAD", "src") is None and repository.read_blob("HEAD", ":(glob)*") is None
    assert repository.files_at("HEAD") == ("README.md", "app.py", "src/lib.py")
    assert not list(root.rglob("PWN"))


LIST = "# Spec Tasks\n\n- [ ] 1. Greet\n  - [ ] 1.1 Hello\n  - [ ] 1.2 Bye\n  - [ ] 1.3 Again\n"


@pytest.fixture
async def ticked(tmp_path: Path) -> GitWorkspaces:
    """A run whose three subtasks each ticked a line beside the others', the last one the group as well."""
    place = tmp_path / "listed"
    make_repository(place, {"tasks.md": LIST})
    repository = Repository.open(place)
    made = GitWorkspaces(repository, run=RUN, base=repository.head(), state=tmp_path / "state")
    await made.start()
    text = LIST
    for number, name in enumerate(("hello", "bye", "again"), 1):
        text = text.replace(f"[ ] 1.{number}", f"[x] 1.{number}")
        if number == 3:
            text = text.replace("[ ] 1. ", "[x] 1. ")
        await land(made, name, {f"{name}.py": f"{name}\n", "tasks.md": text})
    return made


def _carried(path: str, before: bytes, after: bytes, now: bytes) -> bytes | None:
    return carried_ticks(
        *(read_tasks(path, data, format="agent-os", tag=None) for data in (before, after, now))
    )


TICKS = Carry(frozenset({"tasks.md"}), _carried)


def _ticks(spaces: GitWorkspaces, commit: str) -> list[str]:
    shown = git(spaces.repository.root, "show", f"{commit}:tasks.md")
    return [line.split("] ")[1].split()[0] for line in shown.splitlines() if "[x]" in line]


@pytest.mark.parametrize(("name", "left"), [("bye", ["1.1", "1.3"]), ("again", ["1.1", "1.2"])])
async def test_a_tick_beside_others_is_undone_with_its_work(
    ticked: GitWorkspaces, name: str, left: list[str]
):
    undone = await undo(ticked, SubtaskId(name), carry=TICKS)
    # The group was ticked by the last of its parts, and is open with the first.
    assert _ticks(ticked, undone.commit) == left
    place = Path(undone.worktree.path)
    assert not (place / f"{name}.py").exists()
    assert git(place, "status", "--porcelain") == ""


async def test_work_is_left_out_with_its_tick_and_the_others_keep_theirs(ticked: GitWorkspaces):
    repository, base = ticked.repository, ticked.base
    drop = [SubtaskId("bye")]
    kept = state(repository.root)
    with pytest.raises(AcceptRefused, match=r"conflict in tasks\.md"):
        without(repository, run=RUN, base=base, state=kept, drop=drop)
    branch = without(repository, run=RUN, base=base, state=kept, drop=drop, carry=TICKS)
    assert _ticks(ticked, branch) == ["1.1", "1.3"]
    assert git(repository.root, "log", "--format=%s", f"{base}..{branch}") == "Do again\nDo hello"


async def test_a_task_the_user_ticked_meanwhile_does_not_keep_the_run_out(ticked: GitWorkspaces):
    root = ticked.repository.root
    branch = without(
        ticked.repository, run=RUN, base=ticked.base, state=state(root), drop=[SubtaskId("bye")], carry=TICKS
    )
    write(root, {"tasks.md": LIST.replace("[ ] 1.2", "[x] 1.2")})
    commit_all(root)
    accepted = accept(Repository.open(root), run=RUN, state=state(root), branch=branch, carry=TICKS)
    assert accepted.how is How.MERGE
    assert _ticks(ticked, "HEAD") == ["1.1", "1.2", "1.3"]
    assert git(root, "status", "--porcelain") == ""


async def test_more_than_ticks_is_for_git_to_merge(ticked: GitWorkspaces):
    before, after = LIST.encode(), LIST.replace("[ ] 1.1 Hello", "[x] 1.1 Hello!").encode()
    assert _carried("tasks.md", before, after, before) is None
