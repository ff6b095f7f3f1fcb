"""ImageFolder discovery, on real trees of every odd kind."""

import os
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dl2cli.dataset import discovery
from dl2cli.dataset.discovery import IgnoredFile, ImageFile, class_names, discover
from dl2cli.errors import DataError, StorageError, UsageError


def touch(root: Path, *names: str | bytes) -> None:
    for name in names:
        path = root / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def paths(folder: discovery.ImageFolder) -> list[str]:
    return [file.path for file in folder.files]


def reasons(folder: discovery.ImageFolder) -> dict[str, str]:
    return {file.path: file.reason for file in folder.ignored}


def test_labels_follow_the_string_sort_of_the_class_folders(tmp_path: Path) -> None:
    touch(tmp_path, "b/1.jpg", "a/2.jpg", "a/10.jpg", "10/x.png", "9/x.png", "B/x.webp")
    folder = discover(tmp_path)
    assert folder.classes == ("10", "9", "B", "a", "b")
    assert folder.files == (
        ImageFile("10/x.png", 0),
        ImageFile("9/x.png", 1),
        ImageFile("B/x.webp", 2),
        ImageFile("a/10.jpg", 3),
        ImageFile("a/2.jpg", 3),
        ImageFile("b/1.jpg", 4),
    )
    assert folder.ignored == ()


def test_nested_files_belong_to_their_class_and_an_empty_class_keeps_its_label(
    tmp_path: Path,
) -> None:
    touch(tmp_path, "a/z.jpg", "a/deep/er/y.jpg", "c/x.jpg")
    (tmp_path / "b" / "nothing here").mkdir(parents=True)
    folder = discover(tmp_path)
    assert folder.classes == ("a", "b", "c")
    assert [(f.path, f.label) for f in folder.files] == [
        ("a/deep/er/y.jpg", 0),
        ("a/z.jpg", 0),
        ("c/x.jpg", 2),
    ]


def test_endings_are_compared_in_any_case(tmp_path: Path) -> None:
    images = [f"a/{i:02}{s}" for i, s in enumerate(sorted(discovery.IMAGE_SUFFIXES))]
    images += ["a/x.JPEG", "a/y.JpG", "a/z.tar.PNG"]
    touch(tmp_path, *images, "a/notes.txt", "a/jpg", "a/1.jpg.part")
    folder = discover(tmp_path)
    assert paths(folder) == sorted(images)
    assert reasons(folder) == dict.fromkeys(
        ["a/1.jpg.part", "a/jpg", "a/notes.txt"], discovery.NO_IMAGE_ENDING
    )


def test_hidden_and_loose_files_are_left_out_with_a_reason(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg", "a/.2.jpg", "a/.thumbs/3.jpg", ".git/a.jpg", "loose.jpg", "README")
    folder = discover(tmp_path)
    assert paths(folder) == ["a/1.jpg"]
    assert folder.ignored == (
        IgnoredFile(".git", discovery.HIDDEN),
        IgnoredFile("README", discovery.NO_CLASS),
        IgnoredFile("a/.2.jpg", discovery.HIDDEN),
        IgnoredFile("a/.thumbs", discovery.HIDDEN),
        IgnoredFile("loose.jpg", discovery.NO_CLASS),
    )


def test_links_are_followed_and_cycles_and_broken_ones_are_left_out(tmp_path: Path) -> None:
    root = tmp_path / "root"
    touch(tmp_path, "elsewhere/1.jpg", "elsewhere/sub/2.jpg", "root/a/0.jpg")
    (root / "b").symlink_to(tmp_path / "elsewhere")
    (root / "a" / "link.jpg").symlink_to(tmp_path / "elsewhere" / "1.jpg")
    (root / "a" / "more").symlink_to(tmp_path / "elsewhere" / "sub")
    (root / "a" / "gone.jpg").symlink_to("nowhere.jpg")
    (root / "a" / "loop.jpg").symlink_to("loop.jpg")
    (root / "a" / "self").symlink_to(".")
    (root / "a" / "up").symlink_to("..")
    (tmp_path / "elsewhere" / "sub" / "again").symlink_to(tmp_path / "elsewhere")
    folder = discover(root)
    assert folder.classes == ("a", "b")
    # a/more leads into `sub` from outside, so its link up is no cycle until it meets `sub` again.
    assert paths(folder) == [
        "a/0.jpg",
        "a/link.jpg",
        "a/more/2.jpg",
        "a/more/again/1.jpg",
        "b/1.jpg",
        "b/sub/2.jpg",
    ]
    why = reasons(folder)
    assert why.pop("a/loop.jpg").startswith(discovery.BROKEN_LINK)
    assert why == {
        "a/gone.jpg": discovery.BROKEN_LINK,
        "a/more/again/sub": discovery.LINK_CYCLE,
        "a/self": discovery.LINK_CYCLE,
        "a/up": discovery.LINK_CYCLE,
        "b/sub/again": discovery.LINK_CYCLE,
    }


def test_fifos_sockets_and_devices_are_never_opened(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg")
    os.mkfifo(tmp_path / "a" / "fifo.jpg")
    (tmp_path / "a" / "null.jpg").symlink_to("/dev/null")
    (tmp_path / "a" / "pipe.jpg").symlink_to("fifo.jpg")
    os.mkfifo(tmp_path / "pipe")
    os.mknod(tmp_path / "a" / "socket.jpg", stat.S_IFSOCK | 0o600)
    folder = discover(tmp_path)
    assert paths(folder) == ["a/1.jpg"]
    assert reasons(folder) == dict.fromkeys(
        ["a/fifo.jpg", "a/null.jpg", "a/pipe.jpg", "a/socket.jpg", "pipe"], discovery.NOT_REGULAR
    )


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    touch(tmp_path, b"caf\xe9/\xff\xfe.jpg", "café/ü.jpg", "a\nb/c\td.jpg", b"caf\xe9/n\xf6.txt")
    folder = discover(tmp_path)
    assert [os.fsencode(f.path) for f in folder.files] == [
        b"a\nb/c\td.jpg",
        "café/ü.jpg".encode(),
        b"caf\xe9/\xff\xfe.jpg",
    ]
    assert [f.label for f in folder.files] == [0, 1, 2]
    assert all((tmp_path / f.path).exists() for f in folder.files)
    assert [os.fsencode(f.path) for f in folder.ignored] == [b"caf\xe9/n\xf6.txt"]
    assert len(folder.fingerprint()) == 64


@pytest.fixture
def without_root_rights():
    """Root may read everything; drop to another user, in a folder that this user can reach."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        user = os.geteuid()
        try:
            if user == 0:
                os.seteuid(65534)
            yield Path(name), user
        finally:
            os.seteuid(user)


def test_unreadable_folders(without_root_rights) -> None:
    root, owner = without_root_rights
    user = os.geteuid()
    os.seteuid(owner)
    touch(root, "a/1.jpg", "a/locked/2.jpg", "b/3.jpg")
    (root / "a" / "locked").chmod(0)
    (root / "b").chmod(0)
    os.seteuid(user)
    folder = discover(root)
    assert folder.classes == ("a", "b")
    assert paths(folder) == ["a/1.jpg"]
    assert reasons(folder) == dict.fromkeys(["a/locked", "b"], "cannot be read: Permission denied")
    with pytest.raises(StorageError, match="Permission denied"):
        discover(root / "b")
    os.seteuid(owner)
    for locked in root / "a" / "locked", root / "b":
        locked.chmod(0o755)


def test_very_deep_folders(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg")
    depth = 1500
    here = os.open(tmp_path / "a", os.O_RDONLY)
    try:
        for _ in range(depth):
            os.mkdir("d", dir_fd=here)
            here, parent = os.open("d", os.O_RDONLY, dir_fd=here), here
            os.close(parent)
        os.close(os.open("deep.jpg", os.O_CREAT, dir_fd=here))
    finally:
        os.close(here)
    assert paths(discover(tmp_path)) == ["a/1.jpg", "a/" + "d/" * depth + "deep.jpg"]
    # shutil.rmtree, with which pytest tidies up, is recursive.
    subprocess.run(["rm", "-rf", tmp_path / "a"], check=True)


def test_a_path_longer_than_the_system_allows_is_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg")
    here = os.open(tmp_path / "a", os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=here)
        here, parent = os.open("d" * 250, os.O_RDONLY, dir_fd=here), here
        os.close(parent)
    os.close(here)
    folder = discover(tmp_path)
    assert paths(folder) == ["a/1.jpg"]
    assert [file.reason for file in folder.ignored] == ["cannot be read: File name too long"]


def test_links_that_multiply_paths_meet_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for level in range(12):
        folder = tmp_path / "a" / f"{level}"
        folder.mkdir(parents=True)
        for link in "xy":
            (folder / link).symlink_to(f"../{level + 1}")
    touch(tmp_path, "a/12/1.jpg")
    assert len(discover(tmp_path).files) == 2**13 - 1
    monkeypatch.setattr(discovery, "MAX_ENTRIES", 10_000)
    with pytest.raises(DataError, match="more than 10,000 files"):
        discover(tmp_path)


@pytest.mark.parametrize("content", [[], ["a/notes.txt"], ["1.jpg", "2.jpg"], [".a/1.jpg"]])
def test_no_imagefolder(tmp_path: Path, content: list[str]) -> None:
    touch(tmp_path, *content)
    with pytest.raises(DataError, match=r"holds no .*expected one folder a class"):
        discover(tmp_path)


def test_a_root_that_is_not_there_or_no_folder(tmp_path: Path) -> None:
    touch(tmp_path, "file")
    for function in discover, class_names:
        with pytest.raises(UsageError, match=r"nowhere does not exist\."):
            function(tmp_path / "nowhere")
        with pytest.raises(UsageError, match=r"file is not a folder\."):
            function(tmp_path / "file")


NAMES = st.binary(min_size=1, max_size=6).filter(
    lambda name: not {*b"/\0"} & {*name} and not name.startswith(b".")
)


@settings(deadline=None, max_examples=60)
@given(st.sets(st.tuples(NAMES, NAMES), min_size=1, max_size=12))
def test_every_image_is_listed_once_whatever_its_name(names: set[tuple[bytes, bytes]]) -> None:
    with tempfile.TemporaryDirectory() as root:
        for folder, stem in names:
            touch(Path(root), folder + b"/" + stem + b".jpg")
        listing = discover(Path(root))
        expected = sorted(os.fsdecode(folder) for folder in {folder for folder, _ in names})
        assert listing.classes == tuple(expected)
        assert {os.fsencode(file.path) for file in listing.files} == {
            folder + b"/" + stem + b".jpg" for folder, stem in names
        }
        assert len(listing.files) == len(names)
        for file in listing.files:
            assert file.path.split("/")[0] == listing.classes[file.label]


def test_fingerprint_follows_names_and_labels_only(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    touch(first, "a/1.jpg", "b/2.jpg")
    shutil.copytree(first, second)
    (second / "a" / "1.jpg").write_bytes(b"other content")
    touch(second, "a/ignored.txt")
    before = discover(first).fingerprint()
    assert discover(second).fingerprint() == before
    changes = {before}
    for name in ["b/3.jpg", "c/only the class.txt"]:
        touch(second, name)
        changes.add(discover(second).fingerprint())
    (second / "a" / "1.jpg").rename(second / "b" / "1.jpg")
    changes.add(discover(second).fingerprint())
    assert len(changes) == 4
    assert discover(first, ["b", "a"]).fingerprint() not in changes
