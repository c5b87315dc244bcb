"""The committed text of a repository on disk, for tools that read files; gone when the survey is done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.adapters.survey.languages import CODE, is_test, language_of
from orchestrator.adapters.survey.listing import Blob, Repository
from orchestrator.adapters.survey.manifests import is_manifest
from orchestrator.core.facts import SourceFile

_LFS = b"version https://git-lfs"


@dataclass(slots=True, kw_only=True)
class Snapshot:
    """Source files below `root`, as committed; `manifests` by path; `odd` files by the reason they are left out."""

    root: Path
    files: list[SourceFile] = field(default_factory=list)
    manifests: dict[str, bytes] = field(default_factory=dict)
    odd: dict[str, list[str]] = field(default_factory=dict)

    def text(self, path: str) -> str:
        return (self.root / path).read_text(encoding="utf-8", errors="replace")


async def take(repository: Repository, blobs: Iterable[Blob], root: Path) -> Snapshot:
    """Read the blobs and write those that are code below `root`."""
    snapshot = Snapshot(root=root)
    wanted = [blob for blob in blobs if language_of(blob.path) is not None or is_manifest(blob.path)]
    made: set[Path] = set()
    async for contents in repository.batches(wanted):
        _add(snapshot, contents, made)
    return snapshot


def _add(snapshot: Snapshot, contents: Mapping[str, bytes], made: set[Path]) -> None:
    for path, data in contents.items():
        if reason := _why_odd(path, data):
            snapshot.odd.setdefault(reason, []).append(path)
            continue
        if is_manifest(path):
            snapshot.manifests[path] = data
        language = language_of(path)
        if language is None:
            continue
        lines = data.count(b"\n") + (not data.endswith(b"\n")) if data else 0
        if language in CODE:
            place = snapshot.root / path
            try:
                if place.parent not in made:
                    place.parent.mkdir(parents=True, exist_ok=True)
                    made.add(place.parent)
                place.write_bytes(data)
            except OSError as error:
                snapshot.odd.setdefault(f"cannot be written here: {error.strerror}", []).append(path)
                continue
        snapshot.files.append(
            SourceFile(path=path, language=language, lines=lines, size_bytes=len(data), test=is_test(path))
        )


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
