import errno
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hornbeam.errors import StoreError
from hornbeam.store.checkpoints import Checkpoints, latest


def weights(text: str) -> Callable[[Path], None]:
    def save(folder: Path) -> None:
        (folder / "model").mkdir()
        (folder / "model" / "weights").write_text(text)
        (folder / "state").write_text("s" * 10)

    return save


def fails(error: BaseException) -> Callable[[Path], None]:
    def save(folder: Path) -> None:
        (folder / "weights").write_text("half")
        raise error

    return save


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_newest_comes_back_with_its_data(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path / "checkpoints")
    assert kept.latest() is None
    for step in (1, 2, 10):
        path = kept.write(step, weights(f"w{step}"), {"version": step})
    found = kept.latest()
    assert found == (10, path, {"version": 10})
    assert (path / "model" / "weights").read_text() == "w10"
    assert names(kept.folder) == ["step-000002", "step-000010"]  # keep = 2
    assert json.loads((path / "manifest.json").read_text())["files"] == {
        "model/weights": 3,
        "state": 10,
    }


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("[enforce fail at inline_container.cc:668] . unexpected pos 64 vs 0\nmore"),
        Exception("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_leaves_the_last_good_one(tmp_path: Path, error: Exception) -> None:
    kept = Checkpoints(tmp_path, keep=1)
    with pytest.raises(StoreError, match=r"failed: .*; there is none yet"):
        kept.write(3, fails(error), {})
    kept.write(4, weights("good"), {"a": 1})
    with pytest.raises(StoreError) as result:
        kept.write(5, fails(error), {})
    reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
    assert str(result.value) == (
        f"checkpoint of step 5 in {tmp_path} failed: {reason}; the last good one (step 4) stays"
    )
    assert names(tmp_path) == ["step-000004"]
    found = kept.latest()
    assert found is not None
    assert found.data == {"a": 1}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_device_without_space(tmp_path: Path) -> None:
    def save(folder: Path) -> None:
        (folder / "weights").write_text("half")
        Path("/dev/full").write_text("x")

    with pytest.raises(StoreError, match="failed: No space left on device; there is none yet"):
        Checkpoints(tmp_path).write(1, save, {})
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="failed: Not a directory; there is none yet"):
        Checkpoints(tmp_path / "file" / "checkpoints").write(1, weights("w"), {})


def test_errors_that_are_not_the_disk_s_pass(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)
    with pytest.raises(KeyError):
        kept.write(1, fails(KeyError("lm_head")), {})
    with pytest.raises(KeyboardInterrupt):
        kept.write(1, fails(KeyboardInterrupt()), {})
    with pytest.raises(TypeError):
        kept.write(1, weights("w"), {"a": object()})
    assert names(tmp_path) == []


def test_damaged_ones_are_passed_over(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, keep=9)
    paths = [kept.write(step, weights("weights"), {}) for step in range(6)]
    (paths[5] / "model" / "weights").write_text("wei")  # short
    (paths[4] / "state").unlink()
    (paths[3] / "manifest.json").unlink()
    (paths[2] / "manifest.json").write_text('{"step": 2, "fil')
    found = kept.latest()
    assert found is not None
    assert found.step == 1
    Checkpoints(tmp_path, keep=2).write(7, weights("w"), {})
    assert names(tmp_path) == ["step-000001", "step-000007"]


def test_a_step_may_be_written_again(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)
    kept.write(1, weights("one"), {"try": 1})
    path = kept.write(1, weights("two"), {"try": 2})
    assert kept.latest() == (1, path, {"try": 2})
    assert names(tmp_path) == ["step-000001"]


def test_left_overs_go_at_the_start(tmp_path: Path) -> None:
    path = Checkpoints(tmp_path).write(1, weights("w"), {})
    path.rename(tmp_path / ".old-000001")  # killed between the two renames
    (tmp_path / ".new-000001").mkdir()
    assert latest(tmp_path) is None
    assert names(tmp_path) == [".new-000001", ".old-000001"]  # looking changes nothing
    found = Checkpoints(tmp_path).latest()
    assert found is not None
    assert found.path == path
    assert names(tmp_path) == ["step-000001"]


def test_at_least_one_is_kept(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="keep = 0"):
        Checkpoints(tmp_path, keep=0)


WRITE = """
import sys
from hornbeam.store.checkpoints import Checkpoints

def save(folder):
    for i in range(20):
        (folder / str(i)).write_bytes(bytes(1000))

kept = Checkpoints(sys.argv[1])
for step in range(10**6):
    kept.write(step, save, {"step": step})
    print(step, flush=True)
"""


def test_killed_at_any_moment_the_last_one_told_is_there(tmp_path: Path) -> None:
    for lines in (1, 2, 5):
        folder = tmp_path / str(lines)
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITE, str(folder)], stdout=subprocess.PIPE, text=True
        )
        with writer:
            assert writer.stdout is not None
            for _ in range(lines):
                writer.stdout.readline()
            writer.send_signal(signal.SIGKILL)
            rest = [line for line in writer.stdout if line.endswith("\n")]
        last = int(rest[-1]) if rest else lines - 1
        found = Checkpoints(folder).latest()
        assert found is not None
        assert found.step in (last, last + 1)
        assert found.data == {"step": found.step}
        assert not [name for name in names(folder) if name.startswith(".")]
