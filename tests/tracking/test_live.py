"""Trainings beside a store that is absent, wrong, slow or dies: they end as they do without one."""

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import NoReturn

import pytest
from mlflow_proxy import Proxy
from recorded import make_journal, points, run_of
from servers import free_port, mlflow_on_sqlite

from s2rm.tracking import MlflowStore, live, machine_load
from s2rm.tracking.journal import Journal, journal_of, read_events
from s2rm.tracking.live import record_training
from s2rm.tracking.synchronise import synchronise

PATIENCE = 60.0  # seconds


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quick thread, and an end that waits for a busy machine."""
    patient = {"PATIENCE": PATIENCE, "STOPPED_PATIENCE": PATIENCE}
    for name, value in {"PACE": 0.05, "LONGEST_PAUSE": 0.1, **patient}.items():
        monkeypatch.setattr(live, name, value)


def train(root: Path, steps: int = 20, during: Callable[[int], None] | None = None) -> str:
    """A training whose steps do nothing but `during`; returns our own id."""
    with record_training(
        root,
        "s2rm",
        root / "run.json",
        name="joint",
        params={"train.seed": 1},
        tags={"run": "joint"},
        datasets={"refcoco_unc": "abc"},
    ) as journal:
        journal.log_json("environment.json", {"python": "3"})
        for step in range(1, steps + 1):
            if during:
                during(step)
            journal.log({"train/loss": 1 / step}, step)
    return journal.identity


def wait_until(found: Callable[[], bool]) -> None:
    deadline = monotonic() + PATIENCE
    while not found():
        assert monotonic() < deadline
        sleep(0.02)


def steps_of(store: MlflowStore, identity: str) -> list[int]:
    return [step for step, _ in points(store, run_of(store, identity).info.run_id)]


def kept_steps(root: Path, identity: str) -> list[int]:
    events = (event for event, _ in read_events(journal_of(root, identity)))
    return [event["step"] for event in events if event["event"] == "metrics"]


def test_a_training_is_recorded_while_it_runs(
    root: Path, store: MlflowStore, caplog: pytest.LogCaptureFixture
) -> None:
    def see(step: int) -> None:
        if step == 10:
            identity = json.loads((root / "run.json").read_text())["run_id"]
            wait_until(
                lambda: store.find(identity) is not None and steps_of(store, identity) == list(range(1, 10))
            )
            assert run_of(store, identity).info.status == "RUNNING"

    identity = train(root, during=see)
    assert steps_of(store, identity) == list(range(1, 21))
    run = run_of(store, identity)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"train.seed": "1"}
    assert [file.path for file in store.client.list_artifacts(run.info.run_id)] == ["environment.json"]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_an_interrupted_training_continues_in_its_run(root: Path, store: MlflowStore) -> None:
    def stop(step: int) -> None:
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(root, during=stop)
    (first,) = store.list_runs()
    assert first.status == "KILLED"
    identity = train(root)
    assert steps_of(store, identity) == list(range(1, 21))
    (run,) = store.list_runs()
    assert (run.run_id, run.status) == (first.run_id, "FINISHED")


@pytest.mark.faults
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (None, "does not answer: is the server running, and its address right?"),
        ((404, "<html>Not Found</html>"), "answers, but not as an MLflow server does"),
        ((200, "<html>A page</html>"), "answers, but not as an MLflow server does"),
        ((200, ""), "answers, but not as an MLflow server does"),
        ((200, "{}"), "answers, but not as an MLflow server does"),
        ((200, '{"experiment": {}}'), "answers, but not as an MLflow server does"),
        ((401, "You are not authenticated."), "refuses the access: set MLFLOW_TRACKING_USERNAME"),
        ((403, "Permission denied"), "refuses the access: set MLFLOW_TRACKING_USERNAME"),
        ((403, "Invalid Host header - possible DNS rebinding attack detected"), "with --allowed-hosts"),
        ((500, "Internal Server Error"), "answers with errors: look into its log"),
        ((503, "starting"), "answers with errors: look into its log"),
    ],
)
def test_a_server_that_is_none(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    answer: tuple[int, str] | None,
    reason: str,
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    proxy = Proxy()
    proxy.answer = answer
    if answer:
        proxy.start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.url)
    identity = train(tmp_path)
    proxy.stop()
    assert kept_steps(tmp_path, identity) == list(range(1, 21))
    first, last = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert f"the MLflow store {proxy.url} " in first
    assert reason in first
    assert last == "20 points of the training not sent to MLflow: `s2rm track sync` sends what is missing"
    assert "\n" not in first


@pytest.mark.faults
@pytest.mark.parametrize("address", ["./mlruns", "htpp://host:5000", "postgresql+nothing://host/x"])
def test_an_address_that_is_none_ends_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, address: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    identity = train(tmp_path)
    assert kept_steps(tmp_path, identity) == list(range(1, 21))
    assert address in caplog.messages[0]


@pytest.mark.faults
def test_a_run_that_is_deleted_while_it_trains(
    root: Path, store: MlflowStore, caplog: pytest.LogCaptureFixture
) -> None:
    def delete(step: int) -> None:
        if step == 10:
            wait_until(lambda: bool(store.list_runs()))
            store.client.delete_run(store.list_runs()[0].run_id)
        sleep(0.02)

    identity = train(root, during=delete)
    assert kept_steps(root, identity) == list(range(1, 21))
    assert store.list_runs() == []
    (message,) = caplog.messages
    assert "Current state is deleted" in message or "was deleted in MLflow" in message
    (line,) = synchronise(root).left_out
    assert "was deleted in MLflow, and is left out" in line


def test_the_next_training_marks_those_that_were_killed(root: Path, store: MlflowStore) -> None:
    killed = Journal(root, None, {"name": "killed", "experiment": "s2rm", "params": {}, "tags": {}})
    sender = live.Sender(root, "s2rm", killed)
    wait_until(lambda: bool(store.list_runs()))
    sender.close(PATIENCE)
    train(root)
    statuses = {run.title: run.status for run in store.list_runs()}
    assert statuses == {"killed": "RUNNING", "joint": "FINISHED"}, "its process still has its record"
    killed.close()
    (root / "run.json").unlink()
    train(root)
    statuses = {run.title: run.status for run in store.list_runs()}
    assert statuses == {"killed": "KILLED", "joint": "FINISHED"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_on_sqlite(tmp_path_factory.mktemp("server")) as address:
        yield address


@pytest.fixture
def proxy(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    with Proxy(server) as proxy:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.url)
        yield proxy


@pytest.mark.slow
@pytest.mark.server
def test_a_server_that_dies_and_returns(
    proxy: Proxy, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "s2rm")

    def happen(step: int) -> None:
        if step == 5:
            wait_until(lambda: any("log-batch" in request for request in proxy.requests))
            proxy.stop()
        if step == 10:
            wait_until(lambda: bool(caplog.messages))
            proxy.start()
        if step == 15:
            wait_until(lambda: len(caplog.messages) == 2)

    identity = train(tmp_path, during=happen)
    first, second = caplog.messages
    assert "does not answer" in first
    assert second == "the MLflow store works again"
    store = MlflowStore(tmp_path, "s2rm")
    assert steps_of(store, identity) == list(range(1, 21))
    assert synchronise(tmp_path).points == 0


@pytest.mark.slow
@pytest.mark.server
@pytest.mark.parametrize("when", [0, 1, 10])
def test_what_a_dead_server_lacks_is_sent_later_and_once(proxy: Proxy, tmp_path: Path, when: int) -> None:
    """`when`: the step before which the server dies; 0: it was never there."""
    if not when:
        proxy.stop()

    def die(step: int) -> None:
        if step == when:
            wait_until(lambda: any("log-batch" in request for request in proxy.requests))
            proxy.stop()

    identity = train(tmp_path, during=die)
    proxy.start()
    assert 0 < synchronise(tmp_path).points <= 20
    assert synchronise(tmp_path).points == 0
    store = MlflowStore(tmp_path, "s2rm")
    assert steps_of(store, identity) == list(range(1, 21))
    run = run_of(store, identity)
    assert run.info.status == "FINISHED"
    assert [file.path for file in store.client.list_artifacts(run.info.run_id)] == ["environment.json"]


@pytest.mark.slow
@pytest.mark.server
def test_answers_that_get_lost_double_nothing(proxy: Proxy, tmp_path: Path) -> None:
    proxy.lose = 3
    identity = train(tmp_path, during=lambda step: setattr(proxy, "lose", proxy.lose + (step % 7 == 0)))
    proxy.lose = 0
    synchronise(tmp_path)
    store = MlflowStore(tmp_path, "s2rm")
    assert steps_of(store, identity) == list(range(1, 21))
    found = [run for run in store.list_runs() if run.run_id == run_of(store, identity).info.run_id]
    assert len(found) == 1


@pytest.mark.slow
@pytest.mark.server
def test_a_slow_server_delays_no_step(proxy: Proxy, tmp_path: Path) -> None:
    proxy.delay = 2.0
    longest, last = 0.0, monotonic()

    def measure(step: int) -> None:
        nonlocal longest, last
        sleep(0.1)
        now = monotonic()
        longest, last = max(longest, now - last), now

    identity = train(tmp_path, steps=40, during=measure)
    assert longest < proxy.delay, "no step has waited for an answer"
    proxy.delay = 0.0
    synchronise(tmp_path)
    assert steps_of(MlflowStore(tmp_path, "s2rm"), identity) == list(range(1, 41))


def test_the_end_does_not_wait_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "PATIENCE", 0.5)
    with Proxy() as proxy:
        proxy.delay = 30.0
        monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.url)
        started = monotonic()
        identity = train(tmp_path)
        assert monotonic() - started < proxy.delay
    assert kept_steps(tmp_path, identity) == list(range(1, 21))


def test_a_port_where_nobody_listens_costs_no_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    journal = make_journal(tmp_path)
    with pytest.raises(live.StoreError, match="does not answer"):
        synchronise(tmp_path)
    assert kept_steps(tmp_path, journal.identity) == [1, 2]


def test_the_machine_is_watched(root: Path, store: MlflowStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_load, "FIRST", 0.0)
    monkeypatch.setattr(machine_load, "LONGEST", 0.05)

    def sampled() -> bool:
        runs = store.search({"run": "joint"})
        return bool(runs) and "system/cpu_utilization_percentage" in runs[0].data.metrics

    identity = train(root, 2, during=lambda step: wait_until(sampled) if step == 2 else None)
    run_id = run_of(store, identity).info.run_id
    found = points(store, run_id, "system/system_memory_usage_percentage")
    assert [step for step, _ in found] == list(range(len(found)))
    assert all(0 < value < 100 for _, value in found)


def fail(*_: object) -> NoReturn:
    raise OSError("Driver/library version mismatch")  # as pynvml.NVMLError, of no class that MLflow catches


@pytest.mark.faults
def test_a_gpu_that_cannot_be_watched_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """NVML can be loaded, and fails when it is asked; at once or only later."""
    monkeypatch.setattr(machine_load, "FIRST", 0.0)
    monkeypatch.setattr("mlflow.system_metrics.metrics.gpu_monitor.GPUMonitor.__init__", fail)
    monitor = machine_load.MachineMonitor()
    lost = type("Lost", (), {"collect_metrics": fail, "aggregate_metrics": fail, "clear_metrics": fail})
    monitor._monitors.insert(0, lost())
    assert "system/cpu_utilization_percentage" in monitor.sample()


@pytest.mark.faults
def test_a_monitor_that_fails_ends_no_training(
    root: Path, store: MlflowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "MachineMonitor", fail)
    assert steps_of(store, train(root)) == list(range(1, 21))
