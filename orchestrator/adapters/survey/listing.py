"""The files of one commit: names and sizes from git's own objects, whatever the checkout looks like.

Nothing is read from the working tree, so a dirty, sparse or half-written checkout changes no fact, ignored files
are never seen, and no smudge filter of the repository is executed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.adapters.git_command import call
from orchestrator.adapters.processes import Completed
from orchestrator.adapters.survey.languages import is_test, why_skipped
from orchestrator.adapters.survey.manifests import is_manifest
from orchestrator.core.domain import OrchestratorError
from orchestrator.core.facts import Skipped
from orchestrator.core.text import one_line

MAX_FILES = 100_000
MAX_FILE_BYTES = 512 * 1024
MAX_TOTAL_BYTES = 256 * 1024 * 1024
_BATCH_BYTES = 16 * 1024 * 1024
_ORDINARY = (b"100644", b"100755")


class SurveyFailed(OrchestratorError):
    """The repository could not be read; the message says what git said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """A file as git stores it. `path` is text; names that are not UTF-8 are skipped."""

    path: str
    object: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """`blobs` are what was asked for; `beside` the tests and manifests elsewhere, which say what holds for them."""

    blobs: tuple[Blob, ...]
    beside: tuple[Blob, ...]
    skipped: tuple[Skipped, ...]
    everything: frozenset[str]


class Repository:
    """Read-only git on one repository: nothing that it configures is run, no object is replaced by another."""

    def __init__(self, root: Path, environ: Mapping[str, str]) -> None:
        self.root = root
        self._environ = environ

    async def git(self, *arguments: str, stdin: bytes | None = None) -> Completed:
        """Run one git command. Raises SurveyFailed when it fails or has more to say than can be kept."""
        import asyncio

        completed = await asyncio.to_thread(
            call,
            arguments,
            cwd=self.root,
            environ=self._environ,
            stdin=stdin,
            extra={"GIT_NO_REPLACE_OBJECTS": "1"},
        )
        if completed.exit_code != 0 or completed.truncated or completed.limit:
            why = one_line(completed.error_text, 200) or f"exit {completed.exit_code}"
            if completed.truncated or completed.limit:
                why = f"stopped by a limit: {completed.limit or 'output'}"
            raise SurveyFailed(f"git {arguments[0]} in {self.root} failed: {why}")
        return completed

    async def tree(self, commit: str, chosen: Sequence[str]) -> Listing:
        """List the files of a commit. `chosen` are .gitignore-style globs; none means everything.

        Links, submodules, binary, vendored, machine-made and huge files are counted as skipped, and what is
        beyond MAX_FILES files or MAX_TOTAL_BYTES bytes too, in the order of their paths.
        """
        listed = await self.git("ls-tree", "-r", "-z", "-l", "--full-tree", commit)
        matches = _matcher(chosen)
        blobs: list[Blob] = []
        beside: list[Blob] = []
        everything: set[str] = set()
        left_out: dict[str, list[str]] = {}
        total = 0
        for mode, name, size, raw in _entries(listed.stdout):
            try:
                path = raw.decode("utf-8")
            except UnicodeDecodeError:
                left_out.setdefault("its name is not UTF-8", []).append(raw.decode("utf-8", "replace"))
                continue
            if mode not in _ORDINARY:
                left_out.setdefault("a link or a submodule", []).append(path)
                continue
            everything.add(path)
            inside = matches(path)
            if not inside and not (is_test(path) or is_manifest(path)):
                continue
            reason = why_skipped(path) if size >= 0 else "missing from this clone"
            if reason is None and size > MAX_FILE_BYTES:
                reason = f"larger than {MAX_FILE_BYTES // 1024} KB"
            if reason is None and (len(blobs) + len(beside) >= MAX_FILES or total + size > MAX_TOTAL_BYTES):
                reason = f"beyond {MAX_FILES} files or {MAX_TOTAL_BYTES // 1024 // 1024} MB"
            if reason is not None:
                if inside:
                    left_out.setdefault(reason, []).append(path)
                continue
            total += size
            (blobs if inside else beside).append(Blob(path=path, object=name, size_bytes=size))
        skipped = tuple(
            Skipped(reason=reason, files=len(paths), example=one_line(paths[0], 200))
            for reason, paths in sorted(left_out.items())
        )
        return Listing(
            blobs=tuple(blobs), beside=tuple(beside), skipped=skipped, everything=frozenset(everything)
        )

    async def batches(self, blobs: Iterable[Blob]) -> AsyncIterator[dict[str, bytes]]:
        """The bytes of each blob by path, in batches of bounded size."""
        for batch in _batches(blobs):
            asked = "".join(f"{blob.object}\n" for blob in batch).encode()
            answer = await self.git("cat-file", "--batch", stdin=asked)
            read: dict[str, bytes] = {}
            place = 0
            for blob in batch:
                end = answer.stdout.index(b"\n", place)
                header = answer.stdout[place:end].split(b" ")
                if len(header) != 3:
                    raise SurveyFailed(
                        f"git has no contents for {one_line(blob.path)}: the repository is damaged"
                    )
                size = int(header[2])
                read[blob.path] = answer.stdout[end + 1 : end + 1 + size]
                place = end + 1 + size + 1
            yield read


def _entries(listing: bytes) -> Iterator[tuple[bytes, str, int, bytes]]:
    for entry in listing.split(b"\0"):
        if not entry:
            continue
        meta, _, path = entry.partition(b"\t")
        mode, _, name, size = meta.split()
        yield mode, name.decode(), int(size) if size.isdigit() else -1 if size == b"BAD" else 0, path


def _batches(blobs: Iterable[Blob]) -> Iterator[list[Blob]]:
    batch: list[Blob] = []
    size = 0
    for blob in blobs:
        if batch and size + blob.size_bytes > _BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(blob)
        size += blob.size_bytes + 128
    if batch:
        yield batch


def _matcher(chosen: Sequence[str]) -> Callable[[str], bool]:
    if not chosen:
        return lambda path: True
    import pathspec

    return pathspec.GitIgnoreSpec.from_lines(chosen).match_file
