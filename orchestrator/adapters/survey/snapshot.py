"""The committed text of a repository on disk, for tools that read files; gone when the survey is done."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from orchestrator.adapters.survey.languages import CODE, is_test, language_of
from orchestrator.adapters.survey.listing import Blob, Repository
from orchestrator.adapters.survey.manifests import is_manifest
from orchestrator.core.facts import SourceFile

_LFS = b"version https://git-lfs"


@dataclass(slots=True, kw_only=True)
class Snapshot:
    """Source files as committed: all in one file, `pack`, and those that ruff reads also below `tree`.

    `places` gives offset and size of each source file in the pack; `manifests` are contents by path; `odd` files
    are left out, by the reason. One file is far quicker to make and to remove than a hundred thousand.
    """

    pack: Path
    tree: Path
    files: list[SourceFile] = field(default_factory=list)
    places: dict[str, tuple[int, int]] = field(default_factory=dict)
    manifests: dict[str, bytes] = field(default_factory=dict)
    odd: dict[str, list[str]] = field(default_factory=dict)

    def texts(self, paths: Iterable[str]) -> Iterator[tuple[str, str]]:
        """Path and text of each of these source files."""
        with self.pack.open("rb") as pack:
            for path in paths:
                offset, size = self.places[path]
                pack.seek(offset)
                yield path, pack.read(size).decode("utf-8", "replace")


async def take(repository: Repository, blobs: Iterable[Blob], directory: Path) -> Snapshot:
    """Read the blobs and write those that are code below `directory`."""
    snapshot = Snapshot(pack=directory / "pack", tree=directory / "tree")
    snapshot.tree.mkdir()
    wanted = [blob for blob in blobs if language_of(blob.path) is not None or is_manifest(blob.path)]
    made: set[Path] = set()
    with snapshot.pack.open("wb") as pack:
        async for contents in repository.batches(wanted):
            for path, data in contents.items():
                if reason := _why_odd(path, data):
                    snapshot.odd.setdefault(reason, []).append(path)
                    continue
                _add(snapshot, path, data, pack, made)
    return snapshot


def _add(snapshot: Snapshot, path: str, data: bytes, pack: BinaryIO, made: set[Path]) -> None:
    if is_manifest(path):
        snapshot.manifests[path] = data
    language = language_of(path)
    if language is None:
        return
    if language in CODE:
        if language == "Python" and (fault := _write(snapshot.tree / path, data, made)):
            snapshot.odd.setdefault(fault, []).append(path)
            return
        snapshot.places[path] = (pack.tell(), len(data))
        pack.write(data)
    lines = data.count(b"\n") + (not data.endswith(b"\n")) if data else 0
    snapshot.files.append(
        SourceFile(path=path, language=language, lines=lines, size_bytes=len(data), test=is_test(path))
    )


def _write(place: Path, data: bytes, made: set[Path]) -> str | None:
    """Write the file; return why that cannot be done."""
    try:
        if place.parent not in made:
            place.parent.mkdir(parents=True, exist_ok=True)
            made.add(place.parent)
        place.write_bytes(data)
    except OSError as error:
        return f"cannot be written here: {error.strerror}"
    return None


def _why_odd(path: str, data: bytes) -> str | None:
    # git's own check forbids such names, but a tree made by other means can hold them.
    if not {"..", ".", "", ".git"}.isdisjoint(path.split("/")):
        return "its path leads elsewhere"
    if "{{" in path or "\n" in path or "\t" in path:
        return "its name is a template or holds control characters"
    if b"\0" in data[:8000]:
        return "binary"
    if data.startswith(_LFS):
        return "kept in Git LFS"
    return None
