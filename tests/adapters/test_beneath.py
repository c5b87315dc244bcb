"""Files beneath a worktree: no path, link or odd name leads out of it, and what is written keeps its mode."""

import os
import stat

import pytest

from orchestrator.adapters.beneath import LARGEST_FILE, Beneath, PathRefused, components
from tests.adapters.repositories import write


@pytest.fixture
def root(tmp_path):
    """A worktree with a neighbour whose name begins like its own, and links that lead out of it."""
    place = tmp_path / "wt"
    write(place, {"app.py": "one\n", "src/lib.py": "lib\n", "Makefile": "all:\n"})
    write(tmp_path / "wt-evil", {"secret": "secret\n"})
    write(tmp_path / "outside", {"secret": "secret\n"})
    (place / "link").symlink_to(tmp_path / "outside" / "secret")
    (place / "out").symlink_to(tmp_path / "outside")
    (place / "dangling").symlink_to(tmp_path / "outside" / "new")
    (place / "inner").symlink_to("app.py")
    return place


REFUSED = [
    ("", "not a path"),
    ("../wt-evil/secret", "`..`"),
    ("src/../../outside/secret", "`..`"),
    ("./app.py", "`.`"),
    ("src//lib.py", "empty"),
    ("/etc/passwd", "not relative"),
    ("~/x", "not relative"),
    ("C:/x", "not relative"),
    ("a\\b", "not relative"),
    ("a\0b", "not a path"),
    ("x" * 5000, "longer than"),
    ("y" * 300, "a name longer"),
    (".git/config", "belongs to git"),
    ("src/.GIT/hooks/x", "belongs to git"),
    (".git. /x", "belongs to git"),
    ("git~1/x", "belongs to git"),
    ("link", "link"),
    ("out/secret", "link"),
    ("out/new", "link"),
    ("dangling", "link"),
    ("inner", "link"),
    ("app.py/x", "no directory"),
    ("src", "directory"),
]


@pytest.mark.parametrize(("path", "why"), REFUSED)
def test_a_path_that_leads_elsewhere_is_refused_by_name(root, tmp_path, path, why):
    before = {place: place.read_bytes() for place in tmp_path.rglob("*") if place.is_file()}
    beneath = Beneath(str(root))
    for act in (
        lambda: beneath.write(path, b"x"),
        lambda: beneath.delete(path),
        lambda: beneath.rename("app.py", path),
    ):
        with pytest.raises(PathRefused) as refused:
            act()
        assert why in str(refused.value) or "not a file" in str(refused.value)
    with pytest.raises(PathRefused):
        if beneath.read(path) is None:
            raise PathRefused(path, "nothing there")
    assert {place: place.read_bytes() for place in tmp_path.rglob("*") if place.is_file()} == before


def test_a_case_variant_of_a_file_is_refused(root):
    beneath = Beneath(str(root))
    for path in ("App.py", "makefile", "SRC/new.py"):
        with pytest.raises(PathRefused, match="differs only in case"):
            beneath.write(path, b"x")


def test_reading_what_is_not_there_is_none_and_a_pipe_is_no_file(root):
    os.mkfifo(root / "pipe")
    assert Beneath(str(root)).read("nowhere/at/all.py") is None
    with pytest.raises(PathRefused, match="not a file"):
        Beneath(str(root)).read("pipe")


def test_a_file_keeps_its_mode_and_a_new_one_is_plain(root):
    (root / "app.py").chmod(0o755)
    beneath = Beneath(str(root))
    beneath.write("app.py", b"two\n")
    beneath.write("new/deep/file.txt", b"\xffbytes")
    beneath.rename("app.py", "tools/app.py")
    assert stat.S_IMODE((root / "tools" / "app.py").stat().st_mode) == 0o755
    assert stat.S_IMODE((root / "new/deep/file.txt").stat().st_mode) == 0o644
    assert (root / "new/deep/file.txt").read_bytes() == b"\xffbytes"
    assert list((root / "new" / "deep").glob(".*")) == []


def test_a_name_as_long_as_the_file_system_allows_can_be_written(root):
    name = "n" * 255
    Beneath(str(root)).write(name, b"x")
    assert (root / name).read_bytes() == b"x"


def test_renaming_replaces_nothing(root):
    beneath = Beneath(str(root))
    with pytest.raises(PathRefused, match="is there already"):
        beneath.rename("app.py", "src/lib.py")
    with pytest.raises(PathRefused, match="no such file"):
        beneath.rename("nothing.py", "x.py")


def test_too_large_a_file_is_neither_read_nor_written(root):
    beneath = Beneath(str(root))
    with pytest.raises(PathRefused, match="larger"):
        beneath.write("big", b"x" * (LARGEST_FILE + 1))
    with (root / "big").open("wb") as file:
        file.truncate(LARGEST_FILE + 1)
    with pytest.raises(PathRefused, match="larger"):
        beneath.read("big")


def test_a_link_put_there_while_we_write_is_not_followed(root, tmp_path):
    """Whatever ran in the worktree may swap a file for a link: the rename replaces the link, not its aim."""
    aim = tmp_path / "outside" / "secret"
    aside = root / ".app.py.orchestrator"
    aside.symlink_to(aim)
    with pytest.raises(PathRefused):
        Beneath(str(root)).write("app.py", b"x")
    assert aim.read_text() == "secret\n"


def test_ordinary_names_are_ordinary():
    for path in (
        "a",
        ".github/x.yml",
        "a b/c d.py",
        "ä/ö.py",
        ".gitignore",
        "git/x",
        "-rf",
        ":(glob)*",
        "a\nb",
    ):
        assert components(path) == tuple(path.split("/"))
