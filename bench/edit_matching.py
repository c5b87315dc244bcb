"""Are search/replace blocks put where they belong? Real commits, turned into a model's replies, applied again.

    python bench/edit_matching.py [REPOSITORY...] [--commits 200] [--seed 1] [--json FILE] [--quick]

Every changed text file of a commit becomes blocks with as much context as makes them unique. They are applied as
they are, with their white space disturbed in five ways, and with wrong anchors: lines that the file does not hold.
Without a repository it takes this project's own. A commit counts when every file of it comes out byte for byte; of
disturbed ones it is also shown how many come out right but for white space, and how many were put in a wrong place.
"""

from __future__ import annotations

import argparse
import difflib
import json
import random
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.core.edits import Deletion, Rename, Replacement, read_reply
from orchestrator.core.matching import Applied, How, apply_replacement

MOST_LINES, MOST_FILES = 4000, 12


@dataclass(frozen=True)
class Changed:
    path: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class Block:
    """Lines without their endings, as a model would show them."""

    path: str
    search: tuple[str, ...]
    replace: tuple[str, ...]


def _git(repository: str, *arguments: str) -> bytes:
    return subprocess.run(["git", "-C", repository, *arguments], check=True, capture_output=True).stdout


def changed_files(repository: str, commit: str) -> list[Changed] | None:
    """The text files of a commit before and after; None for a commit that is too large or holds what is no text."""
    listing = _git(repository, "diff-tree", "-r", "-z", "--no-renames", "--root", f"{commit}^", commit).split(
        b"\0"
    )
    found = []
    for head, name in zip(listing[::2], listing[1::2], strict=False):
        old_mode, new_mode, old, new, _ = head.decode().lstrip(":").split()
        if not {old_mode, new_mode} <= {"000000", "100644", "100755"}:
            return None
        texts = []
        for blob in (old, new):
            if set(blob) == {"0"}:
                texts.append(None)
                continue
            try:
                texts.append(_git(repository, "cat-file", "blob", blob).decode("utf-8"))
            except (UnicodeDecodeError, subprocess.CalledProcessError):
                return None
        if any(text is not None and (text.count("\n") > MOST_LINES or "\0" in text) for text in texts):
            return None
        found.append(Changed(name.decode("utf-8", "replace"), texts[0], texts[1]))
    real = [file for file in found if file.before != file.after]
    if any(not _expressible(file) for file in real):
        return None
    return real if 0 < len(real) <= MOST_FILES else None


def _expressible(file: Changed) -> bool:
    """Blocks are lines: a change of line endings, or of the newline at a file's end, cannot be said in them."""
    if file.after is None:
        return True
    if file.before is None or not file.before.strip():
        return file.after.endswith("\n") and "\r" not in file.after
    endings = [
        {line[-2:] == "\r\n" for line in text.splitlines(keepends=True)} for text in (file.before, file.after)
    ]
    return (
        endings[0] == endings[1]
        and len(endings[0]) == 1
        and file.before.endswith("\n") == file.after.endswith("\n")
    )


def _lines(text: str) -> list[str]:
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return lines[:-1] if lines[-1] == "" else lines


def blocks(file: Changed) -> list[Block]:
    """The change as blocks, each unique in the file as it is when its turn comes."""
    assert file.before is not None and file.after is not None
    old, new = _lines(file.before), _lines(file.after)
    opcodes = [
        code
        for code in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
        if code[0] != "equal"
    ]
    found: list[Block] = []
    shift = 0
    current = list(old)
    for _, i1, i2, j1, j2 in opcodes:
        start, end = i1 + shift, i2 + shift
        context = 3
        while True:
            top, bottom = max(0, start - context), min(len(current), end + context)
            search = current[top:bottom]
            places = sum(
                current[at : at + len(search)] == search for at in range(len(current) - len(search) + 1)
            )
            if (places == 1 and any(line.strip() for line in search)) or (
                top == 0 and bottom == len(current)
            ):
                break
            context += 2
        replace = [*current[top:start], *new[j1:j2], *current[end:bottom]]
        found.append(Block(file.path, tuple(search), tuple(replace)))
        current[start:end] = new[j1:j2]
        shift += (j2 - j1) - (i2 - i1)
    return found


def reply_of(files: list[Changed], disturb: Callable[[Block], Block]) -> str:
    """What a model would have answered."""
    parts = ["The change.", ""]
    for file in files:
        if file.after is None:
            parts += [f"DELETE {file.path}", ""]
        elif file.before is None or not file.before.strip():
            parts += [file.path, "<<<<<<< SEARCH", "=======", *_lines(file.after), ">>>>>>> REPLACE", ""]
        else:
            for block in map(disturb, blocks(file)):
                parts += [
                    block.path,
                    "<<<<<<< SEARCH",
                    *block.search,
                    "=======",
                    *block.replace,
                    ">>>>>>> REPLACE",
                    "",
                ]
    return "\n".join(parts)


def applied(files: list[Changed], reply: str) -> tuple[dict[str, str | None], list[str]]:
    """Every file as it comes out, and why blocks were refused."""
    texts = {file.path: file.before for file in files}
    refused = []
    asked = read_reply(reply)
    refused += asked.problems
    for edit in asked.edits:
        match edit:
            case Replacement():
                done = apply_replacement(texts.get(edit.path), edit)
                if isinstance(done, Applied):
                    texts[edit.path] = done.text
                else:
                    refused.append(done.why)
            case Deletion():
                texts[edit.path] = None
            case Rename():
                texts[edit.new] = texts.pop(edit.old)
    return texts, refused


# --- disturbances ---------------------------------------------------------------------------------------


def trailing(block: Block, chance: random.Random) -> Block:
    search = tuple(
        line.rstrip() if line != line.rstrip() else line + " " * chance.choice((0, 0, 1, 2))
        for line in block.search
    )
    return Block(block.path, search, block.replace)


def dedented(block: Block, chance: random.Random) -> Block:
    """As a model that shows a method at the margin."""
    filled = [line for line in (*block.search, *block.replace) if line.strip()]
    margin = min((len(line) - len(line.lstrip(" ")) for line in filled), default=0)
    return Block(
        block.path,
        tuple(line[margin:] for line in block.search),
        tuple(line[margin:] for line in block.replace),
    )


def tabs(block: Block, chance: random.Random) -> Block:
    """Leading tabs shown as four spaces, and groups of four spaces shown as tabs."""

    def other(line: str) -> str:
        indent = line[: len(line) - len(line.lstrip())]
        swapped = indent.replace("\t", "    ") if "\t" in indent else indent.replace("    ", "\t")
        return swapped + line.lstrip()

    return Block(block.path, tuple(map(other, block.search)), tuple(map(other, block.replace)))


def blank_lines(block: Block, chance: random.Random) -> Block:
    """Some blank lines forgotten in the search part, as models do at its ends above all."""
    search = list(block.search)
    while search and not search[0].strip():
        search.pop(0)
    while search and not search[-1].strip():
        search.pop()
    replace = list(block.replace)
    head = next((n for n, line in enumerate(block.search) if line.strip()), 0)
    tail = next((n for n, line in enumerate(reversed(block.search)) if line.strip()), 0)
    if all(not line.strip() for line in replace[:head]) and all(
        not line.strip() for line in replace[len(replace) - tail :]
    ):
        replace = replace[head : len(replace) - tail]
        return Block(block.path, tuple(search), tuple(replace))
    return block


def inner(block: Block, chance: random.Random) -> Block:
    """One run of spaces inside a line doubled."""
    search = list(block.search)
    places = [n for n, line in enumerate(search) if re.search(r"\S \S", line)]
    if places:
        at = chance.choice(places)
        search[at] = re.sub(r"(\S) (\S)", r"\1  \2", search[at], count=1)
    return Block(block.path, tuple(search), block.replace)


DISTURBED = {
    "ends of lines": trailing, "dedented": dedented, "tabs for spaces": tabs, "blank margins": blank_lines,
    "spaces within": inner,
}  # fmt: skip


def wrong_anchor(block: Block, chance: random.Random) -> Block:
    """A third of the lines say something that is nowhere in the file."""
    search = list(block.search)
    filled = [n for n, line in enumerate(search) if line.strip()]
    for at in chance.sample(filled, max(1, len(filled) // 3)):
        line = search[at]
        search[at] = (
            line[: len(line) - len(line.lstrip())]
            + f"elsewhere_{chance.randrange(10**6)}("
            + line.strip()[::-1]
        )
    return Block(block.path, tuple(search), block.replace)


def _loose(text: str | None) -> str | None:
    return None if text is None else re.sub(r"\s+", "", text)


def commits(
    repositories: list[str], wanted: int, chance: random.Random
) -> Iterator[tuple[str, list[Changed]]]:
    pools = []
    for repository in repositories:
        listed = _git(repository, "rev-list", "--no-merges", "--min-parents=1", "HEAD").decode().split()
        chance.shuffle(listed)
        pools.append((repository, listed))
    count = 0
    while count < wanted and any(pool for _, pool in pools):
        for repository, pool in pools:
            while pool and count < wanted:
                files = changed_files(repository, pool.pop())
                if files is not None:
                    count += 1
                    yield repository, files
                    break


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("repositories", nargs="*", default=[str(Path(__file__).resolve().parents[1])])
    parser.add_argument("--commits", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", dest="out")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("-v", "--verbose", action="store_true")
    options = parser.parse_args()
    chance = random.Random(options.seed)
    wanted = 20 if options.quick else options.commits
    counts: Counter[str] = Counter()
    exact_blocks = 0
    table: dict[str, Counter[str]] = {name: Counter() for name in DISTURBED}
    anchors: Counter[str] = Counter()
    for repository, files in commits(options.repositories, wanted, chance):
        counts["commits"] += 1
        counts["files"] += len(files)
        expected = {file.path: file.after for file in files}
        texts, refused = applied(files, reply_of(files, lambda block: block))
        good = texts == expected and not refused
        counts["exact"] += good
        if not good and options.verbose:
            for path in expected:
                if texts[path] != expected[path]:
                    print("NOT EXACT", repository, path, refused[:2])
        for file in files:
            if file.before is None or file.after is None or not file.before.strip():
                continue
            for block in blocks(file):
                exact_blocks += 1
                _disturbed(file, block, chance, table, options.verbose)
                _anchored(file, block, chance, anchors, options.verbose)
    told = f"{counts['commits']} commits, {counts['files']} files, {exact_blocks} blocks"
    print(f"{told} of {len(options.repositories)} repositories")
    share = counts["exact"] / max(1, counts["commits"])
    print(f"exact: {counts['exact']} of {counts['commits']} commits byte for byte ({share:.1%})")
    print(f"\n{'white space disturbed':24}{'blocks':>8}{'right':>9}{'exact':>9}{'refused':>9}{'wrong':>7}")
    total: Counter[str] = Counter()
    for name, row in table.items():
        total += row
        print(f"{name:24}{_row(row)}")
    print(f"{'all':24}{_row(total)}")
    print(
        f"\nwrong anchors: {anchors['blocks']} blocks, {anchors['refused']} refused, {anchors['own place']} put at "
        f"their own place by the lines around, {anchors['wrong']} in a wrong place"
    )
    if options.out:
        document = {"counts": counts, "blocks": exact_blocks, "disturbed": table, "anchors": anchors}
        Path(options.out).write_text(json.dumps(document, indent=2))


def _row(row: Counter[str]) -> str:
    blocks_ = max(1, row["blocks"])
    return (
        f"{row['blocks']:8}{row['right'] / blocks_:9.1%}{row['exact'] / blocks_:9.1%}{row['refused'] / blocks_:9.1%}"
        f"{row['wrong']:7}"
    )


def _disturbed(
    file: Changed, block: Block, chance: random.Random, table: dict[str, Counter[str]], verbose: bool
) -> None:
    before = _state_before(file, block)
    right = apply_replacement(before, _edit(block))
    if not isinstance(right, Applied):
        return
    for name, disturb in DISTURBED.items():
        other = disturb(block, chance)
        if other == block:
            continue
        row = table[name]
        row["blocks"] += 1
        done = apply_replacement(before, _edit(other))
        if not isinstance(done, Applied):
            row["refused"] += 1
            if verbose:
                print("REFUSED", name, file.path, done.why[:150])
        elif _loose(done.text) == _loose(right.text):
            row["right"] += 1
            row["exact"] += done.text == right.text
            if verbose and done.text != right.text:
                print("INEXACT", name, file.path)
                for line in difflib.unified_diff(
                    right.text.splitlines(), done.text.splitlines(), "right", "done", "", "", 0, ""
                ):
                    print("   ", repr(line))
        else:
            row["wrong"] += 1
            if verbose:
                print("WRONG", name, file.path, done.how)


def _anchored(
    file: Changed, block: Block, chance: random.Random, anchors: Counter[str], verbose: bool
) -> None:
    before = _state_before(file, block)
    right = apply_replacement(before, _edit(block))
    if not isinstance(right, Applied) or not any(line.strip() for line in block.search):
        return
    anchors["blocks"] += 1
    done = apply_replacement(before, _edit(wrong_anchor(block, chance)))
    if not isinstance(done, Applied):
        anchors["refused"] += 1
    elif done.how is How.ANCHORED and _loose(done.text) == _loose(right.text):
        anchors["own place"] += 1
    else:
        anchors["wrong"] += 1
        if verbose:
            print("WRONG ANCHOR", file.path, done.how)


def _edit(block: Block) -> Replacement:
    return Replacement(path=block.path, search=block.search, replace=block.replace, line=1)


def _state_before(file: Changed, block: Block) -> str | None:
    """The file after the blocks that come before this one."""
    text = file.before
    for earlier in blocks(file):
        if earlier == block:
            return text
        done = apply_replacement(text, _edit(earlier))
        text = done.text if isinstance(done, Applied) else text
    return text


if __name__ == "__main__":
    main()
