"""Shell-like tools on a folder world: what they say and refuse, nothing outside the folder."""

import pytest

from hornbeam.errors import ToolError
from hornbeam.tools.file_tools import cat, folder_state, grep, ls, mv, sub, write
from hornbeam.tree.task import Task
from hornbeam.worlds import FolderWorld

FILES = {
    "ash": "coin lamp\n",
    "attic/bay": "lamps lamp lamp\n",
    "attic/loft/elm": "",
    ".tmp/x": "lamp",
}


@pytest.fixture
def world():
    kind = FolderWorld()
    found = kind.open(Task("t", "?", None, {"world": FILES}))
    yield found
    kind.close(found)


def test_looking(world):
    assert ls(world) == "ash attic/"
    assert ls(world, "attic") == "bay loft/"
    assert cat("ash", world) == "coin lamp"
    assert cat("attic/loft/elm", world) == "nothing"
    assert grep("lamp", world) == "ash attic/bay"
    assert grep("lamp", world, "attic") == "attic/bay"
    assert grep("lam", world) == "nothing"
    assert grep("coin", world, "ash") == "ash"
    assert folder_state(world) == "ash: coin lamp\nattic/bay: lamps lamp lamp\nattic/loft/elm: "


def test_changing(world):
    assert sub("attic/bay", "lamp", r"\1", world) == "ok"
    assert cat("attic/bay", world) == r"lamps \1 \1"
    assert mv("ash", "yard/oak", world) == "ok"
    assert write("attic/new", "harp", world) == "ok"
    assert folder_state(world) == (
        "attic/bay: lamps \\1 \\1\nattic/loft/elm: \nattic/new: harp\nyard/oak: coin lamp"
    )


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda w: ls(w, "ash"), "ash is no folder"),
        (lambda w: ls(w, "oak"), "oak is no folder"),
        (lambda w: cat("oak", w), "there is no file oak"),
        (lambda w: cat("attic", w), "there is no file attic"),
        (lambda w: cat("a" * 5000, w), r"aaa\.\.\.' is no path in the folder"),
        (lambda w: cat("a\0b", w), "no path in the folder"),
        (lambda w: grep(" ", w), "the word is empty"),
        (lambda w: grep("lamp", w, "oak"), "there is no oak"),
        (lambda w: mv("oak", "elm", w), "there is no file oak"),
        (lambda w: mv("ash", "attic/bay", w), "attic/bay is there already"),
        (lambda w: mv("ash", "attic", w), "attic is there already"),
        (lambda w: mv("ash", "attic/bay/elm", w), "attic/bay/elm"),
        (lambda w: sub("ash", "harp", "cup", w), "ash holds no harp"),
        (lambda w: write("attic", "x", w), "attic is a folder"),
        (lambda w: write("ash/elm", "x", w), "ash/elm: a file is no folder"),
    ],
)
def test_what_is_wrong_is_one_line_and_changes_nothing(world, act, said):
    before = folder_state(world)
    with pytest.raises(ToolError, match=said) as caught:
        act(world)
    assert "\n" not in str(caught.value) and folder_state(world) == before


def test_no_path_leads_out_of_the_folder(world, tmp_path):
    (tmp_path / "secret").write_text("lamp")
    (world.path / "link").symlink_to(tmp_path)
    (world.path / "one").symlink_to(tmp_path / "secret")
    outside = [
        "../x",
        "/etc/passwd",
        str(tmp_path / "secret"),
        "link/secret",
        "one",
        "attic/../../x",
    ]
    for path in outside:
        for act in (
            lambda p: ls(world, p),
            lambda p: cat(p, world),
            lambda p: grep("lamp", world, p),
            lambda p: mv("ash", p, world),
            lambda p: mv(p, "elm", world),
            lambda p: sub(p, "lamp", "x", world),
            lambda p: write(p, "x", world),
        ):
            with pytest.raises(ToolError, match="is no path in the folder"):
                act(path)
    assert (tmp_path / "secret").read_text() == "lamp"
    assert [each.name for each in tmp_path.iterdir()] == ["secret"]
    assert grep("lamp", world) == "ash attic/bay"


def test_a_file_that_is_no_text(world):
    (world / "bin").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ToolError, match="bin holds no text"):
        cat("bin", world)
