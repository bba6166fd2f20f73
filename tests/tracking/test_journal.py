"""The record of a training on this machine, whatever ends the training."""

import json
import subprocess
import sys
from pathlib import Path
from threading import Event, Thread

import pytest

from s2rm.core.errors import StoppedError, UserError
from s2rm.tracking.journal import Journal, find_journals, held, read_events, read_head, read_status

HEAD = {"name": "joint", "experiment": "s2rm", "params": {}, "tags": {}}


def steps(journal: Path) -> list[int]:
    return [event["step"] for event, _ in read_events(journal) if event["event"] == "metrics"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, "FINISHED"),
        (RuntimeError("x"), "FAILED"),
        (UserError("x"), "FAILED"),
        (MemoryError(), "FAILED"),
        (KeyboardInterrupt(), "KILLED"),
        (StoppedError("x", 15), "KILLED"),
        (SystemExit(1), "FAILED"),
    ],
)
def test_how_a_training_ended_is_its_status(tmp_path: Path, error: BaseException | None, status: str) -> None:
    journal = Journal(tmp_path, None, HEAD)
    assert read_status(journal.path, running=True)[0] == "RUNNING"
    if error is None:
        with journal:
            pass
    else:
        with pytest.raises(type(error)), journal:
            raise error
    journal.close()
    assert read_status(journal.path, running=False)[0] == status


def test_an_interrupted_training_continues_its_record(tmp_path: Path) -> None:
    """The steps after the last saved state are computed again, and noted once."""
    first = Journal(tmp_path, None, HEAD)
    for step in (1, 2, 3, 4):
        first.log({"train/loss": float(step)}, step)
    first.log({"val/mIoU": 1.0}, 2)
    first.close()  # as a process that is killed does
    again = Journal(tmp_path, first.identity, HEAD)
    assert again.identity == first.identity
    assert read_status(again.path, running=True)[0] == "RUNNING"
    for step in (3, 4, 5):
        again.log({"train/loss": float(step)}, step)
    again.log({"val/mIoU": 1.0, "val/oIoU": 1.0}, 2)
    again.close()
    assert steps(again.path) == [1, 2, 3, 4, 2, 5, 2]
    assert list(read_events(again.path))[-1][0]["values"] == {"val/oIoU": 1.0}
    assert read_head(again.path)["name"] == "joint"
    assert find_journals(tmp_path) == [again.path]


def test_an_id_without_a_record_begins_a_new_one(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "0" * 32, HEAD)
    journal.close()
    assert journal.identity != "0" * 32


@pytest.mark.parametrize(
    "rest",
    [b'{"event": "metr', b'{"event": "metrics"', b"\x00\x00\x00", b"nonsense\n", b"[1]\n", b"\xff\xfe", b"3"]
    + [f'{{"event": {kind}}}\n'.encode() for kind in ('"metrics"', '"json"', '"other"', '"end"', "[]")],
)
def test_what_a_kill_has_cut_is_skipped(tmp_path: Path, rest: bytes) -> None:
    journal = Journal(tmp_path, None, HEAD)
    journal.log({"train/loss": 1.0}, 1)
    journal.close()
    with journal.path.open("ab") as file:
        file.write(rest)
    assert steps(journal.path) == [1]
    assert read_status(journal.path, running=False)[0] == "KILLED"
    again = Journal(tmp_path, journal.identity, HEAD)
    with again:
        again.log({"train/loss": 1.0}, 2)
    again.close()
    assert steps(journal.path) == [1, 2]
    assert read_status(journal.path, running=False)[0] == "FINISHED"


@pytest.mark.hostile
@pytest.mark.parametrize("head", ["", '{"event": "open"}', '{"event": "open", "time": 1}', "{}", "[]"])
def test_a_head_without_a_name_is_none(tmp_path: Path, head: str) -> None:
    journal = Journal(tmp_path, None, HEAD)
    journal.close()
    journal.path.write_text(head + "\n")
    assert read_head(journal.path) == {}


@pytest.mark.hostile
def test_a_record_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    journal = Journal(tmp_path, None, HEAD)
    journal.close()
    journal.path.unlink()
    journal.path.mkdir()
    with pytest.raises(UserError, match=r"cannot read the training's record .*: Is a directory"):
        find_journals(tmp_path)


def test_a_line_that_is_being_written_is_left_for_the_next_time(tmp_path: Path) -> None:
    journal = Journal(tmp_path, None, HEAD)
    (_, offset), *_ = read_events(journal.path)
    line = json.dumps({"event": "metrics", "step": 1, "values": {}, "time": 0}).encode()
    with journal.path.open("ab", buffering=0) as file:
        file.write(line)
        assert not list(read_events(journal.path, offset))
        file.write(b"\n")
    assert [event["step"] for event, _ in read_events(journal.path, offset)] == [1]
    journal.close()


def test_what_comes_after_the_end_is_ignored(tmp_path: Path) -> None:
    """The thread that sends the journal samples the machine, and may be late."""
    journal = Journal(tmp_path, None, HEAD)
    with journal:
        journal.log({"train/loss": 1.0}, 1)
    journal.log({"train/loss": 1.0}, 2)
    journal.log_next({"system/cpu": 1.0})
    journal.log_json("environment.json", {})
    journal.close()
    journal.log_next({"system/cpu": 1.0})
    assert steps(journal.path) == [1]
    assert read_status(journal.path, running=False)[0] == "FINISHED"


def test_the_end_waits_for_what_another_thread_writes(tmp_path: Path) -> None:
    journal = Journal(tmp_path, None, HEAD)
    sampling = Event()

    def end() -> None:
        sampling.wait()
        with journal:
            pass

    ending = Thread(target=end)

    class Sample:
        def __float__(self) -> float:
            sampling.set()
            ending.join(0.3)  # long enough to end, if it does not wait for us
            return 1.0

    ending.start()
    journal.log_next({"system/cpu": Sample()})  # type: ignore[dict-item]
    ending.join()
    journal.close()
    assert steps(journal.path) == [0]
    assert read_status(journal.path, running=False)[0] == "FINISHED"


@pytest.mark.kill
def test_a_killed_process_lets_its_record_go(tmp_path: Path) -> None:
    code = """
import os, signal, sys
from pathlib import Path
from s2rm.tracking.journal import Journal
journal = Journal(Path(sys.argv[1]), None, {"name": "joint"})
journal.log({"train/loss": 1.0}, 1)
print(journal.identity, flush=True)
sys.stdin.readline()
os.kill(os.getpid(), signal.SIGKILL)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    record = tmp_path / ".tracking" / process.stdout.readline().strip()
    with held(record) as free:
        assert not free
    process.communicate("\n")
    with held(record) as free:
        assert free
    assert steps(record / "run.jsonl") == [1]


def test_a_full_disk_ends_no_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal = Journal(tmp_path, None, HEAD)
    file = journal._file
    with Path("/dev/full").open("ab", buffering=0) as full:
        journal._file = full
        for step in (1, 2, 3):
            journal.log({"train/loss": 1.0}, step)
    journal._file = file
    journal.log({"train/loss": 1.0}, 4)
    journal.close()
    assert steps(journal.path) == [4]
    (message,) = caplog.messages
    assert message.endswith("is not complete: No space left on device")


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / ".tracking").write_text("in the way")
    with pytest.raises(UserError, match=r"cannot write the training's record .*run\.jsonl: "):
        Journal(tmp_path, None, HEAD)
