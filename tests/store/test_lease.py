"""One manager at a time."""

import signal
import subprocess
import sys
import textwrap
import time
from contextlib import contextmanager

import pytest
from sqlalchemy import text

from alflow.core.errors import LeaseHeld, StoreError
from alflow.core.tasks import Outcome
from alflow.store import lease as lease_module
from alflow.store import open_store
from alflow.store.views import status

HOLDER = textwrap.dedent(
    """
    import sys, time
    from alflow.store import open_store
    store = open_store(sys.argv[1])
    lease = store.acquire_lease("first")
    store.begin_iteration(lease.epoch, "build")
    print("ready", flush=True)
    time.sleep(60)
    """
)


def test_a_second_manager_in_another_process_is_refused(world):
    world.lease.release()
    command = [sys.executable, "-c", HOLDER, str(world.url)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        with pytest.raises(
            LeaseHeld, match=rf"pid {process.pid}\), last sign of life \d s ago"
        ):
            world.store.acquire_lease("second")
        assert status(world.store).manager.alive
        process.kill()
        process.wait()
        assert not status(world.store).manager.alive
        # Killed a moment ago, long before its lease runs out: the lock went with the process.
        with world.store.acquire_lease("second") as lease:
            assert lease.epoch == 3
            assert status(world.store).manager.holder == "second"
    assert not status(world.store).manager.alive


def test_a_second_store_in_this_process_is_refused(world):
    with open_store(world.url) as other, pytest.raises(LeaseHeld) as caught:
        other.acquire_lease("second")
    assert caught.value.exit_code == 4
    name = str(world.url).replace("+psycopg", "")
    assert f"alflow status {name}\n" in caught.value.next_step


def test_a_second_name_is_no_second_lock(sqlite_world):
    link = sqlite_world.path.with_name("link.db")
    link.symlink_to(sqlite_world.path.name)
    with open_store(link) as other, pytest.raises(LeaseHeld):
        other.acquire_lease("second")


def take_over(world):
    """What another machine would do to a manager that seems dead."""
    with world.store.database.write() as connection:
        connection.execute(
            text("UPDATE manager_lease SET epoch = epoch + 1, host = 'other'")
        )


def test_a_manager_that_was_overtaken_writes_nothing(world):
    world.bootstrap()
    ref = world.attempt("label")
    before = world.store.content_digest()
    take_over(world)
    verbs = [
        lambda: world.store.publish([world.task("build", "more")]),
        lambda: world.store.start_attempt(3),
        lambda: world.store.finish_task(ref, Outcome()),
        lambda: world.store.commit_items(ref, {}, "v"),
        lambda: world.store.begin_iteration(1, "sample"),
        lambda: world.store.set_state("failed", ""),
        lambda: world.store.event("x", "info", "", {}),
        world.store.clear_stop,
        world.lease.renew,
    ]
    for verb in verbs:
        with pytest.raises(LeaseHeld, match="was taken over by other"):
            verb()
    assert world.store.content_digest() == before
    world.store.request_stop(now=False)
    world.lease.release()
    world.lease.release()


def test_a_living_manager_of_another_machine_is_respected(world):
    world.lease.release()
    with world.store.database.write() as connection:
        connection.execute(
            text("UPDATE manager_lease SET boot_id = 'other', expires = renewed + 1000")
        )
    with pytest.raises(LeaseHeld):
        world.store.acquire_lease("second")
    with world.store.database.write() as connection:
        connection.execute(text("UPDATE manager_lease SET expires = 5"))
    world.store.acquire_lease("second").release()


def test_renewing_is_a_sign_of_life(world):
    with world.store.database.write() as connection:
        connection.execute(text("UPDATE manager_lease SET renewed = 1, expires = 2"))
    assert not status(world.store).manager.alive
    world.lease.renew()
    assert status(world.store).manager.alive
    assert status(world.store).manager.silent_s < 10


def test_closing_releases(world):
    world.store.close()
    with open_store(world.url) as store, store.acquire_lease("next") as lease:
        assert lease.epoch == 2


def test_there_is_no_lease_without_a_campaign(tmp_path):
    with open_store(tmp_path / "a.db", create=True) as store:
        assert store.campaign_or_none() is None
        with pytest.raises(StoreError, match="holds no campaign yet"):
            store.acquire_lease("me")


MANAGER = textwrap.dedent(
    """
    import sys
    from alflow.core.errors import LeaseHeld
    from alflow.store import lease, open_store

    lease.TTL_S, lease.HEARTBEAT_S = float(sys.argv[2]), float(sys.argv[3])
    with open_store(sys.argv[1]) as store:
        try:
            with store.acquire_lease("manager") as held:
                print("epoch", held.epoch, flush=True)
                for line in sys.stdin:
                    store.event("turn", "info", line.strip(), {"epoch": held.epoch})
                    print("wrote", line.strip(), flush=True)
        except LeaseHeld as error:
            print("refused:", error.message, flush=True)
            sys.exit(error.exit_code)
    """
)


@contextmanager
def manager(url, ttl_s=1.0, heartbeat_s=0.1):
    """A manager in a process of its own, which writes an event for each line that it is sent."""
    command = [sys.executable, "-c", MANAGER, str(url), str(ttl_s), str(heartbeat_s)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def said(process):
    return process.stdout.readline().strip()


def send(process, word):
    process.stdin.write(f"{word}\n")
    process.stdin.flush()


def turns(world):
    with world.store.read() as connection:
        rows = connection.execute(
            text("SELECT subject, epoch FROM event WHERE kind = 'turn' ORDER BY id")
        )
        return [tuple(row) for row in rows]


@pytest.mark.recovery
def test_a_paused_manager_that_wakes_up_is_fenced_out(world):
    world.lease.release()
    with manager(world.url, ttl_s=3.0) as first:
        assert said(first) == "epoch 2"
        send(first, "a")
        assert said(first) == "wrote a"
        first.send_signal(signal.SIGSTOP)
        words = rf"is being run by .* \(pid {first.pid}\), last sign of life \d s ago"
        with pytest.raises(LeaseHeld, match=words):
            world.store.acquire_lease("hasty")
        time.sleep(3.1)
        # It still has the lock, but has been silent for too long.
        with manager(world.url, ttl_s=60.0) as second:
            assert said(second) == "epoch 3"
            send(second, "b")
            assert said(second) == "wrote b"
            first.send_signal(signal.SIGCONT)
            send(first, "c")
            assert f"(pid {second.pid}) while this manager was silent" in said(first)
            assert first.wait(30) == 4
            send(second, "d")
            assert said(second) == "wrote d"
            with pytest.raises(LeaseHeld, match=rf"pid {second.pid}\)"):
                world.store.acquire_lease("third")
    assert turns(world) == [("a", 2), ("b", 3), ("d", 3)]


def test_a_holder_that_has_no_lock_yet_is_left_alone_as_long_as_it_runs(world):
    """It took over from a silent one, which had the lock until now."""
    world.lease.release()
    with subprocess.Popen(["sleep", "60"]) as holder:
        with world.store.database.write() as connection:
            sql = f"UPDATE manager_lease SET pid = {holder.pid}, expires = renewed + 1000"
            connection.execute(text(sql))
        with pytest.raises(LeaseHeld, match=rf"pid {holder.pid}\)"):
            world.store.acquire_lease("hasty")
        holder.kill()
        holder.wait()
        with world.store.acquire_lease("next") as held:
            assert held.epoch == 2


@pytest.mark.recovery
def test_a_restart_after_a_kill_does_not_wait(world):
    world.lease.release()
    for epoch in (2, 3, 4):
        with manager(world.url, ttl_s=1000, heartbeat_s=5) as process:
            assert said(process) == f"epoch {epoch}"
            process.kill()
            process.wait()
    started = time.monotonic()
    with world.store.acquire_lease("next") as held:
        assert held.epoch == 5
    assert time.monotonic() - started < lease_module.DYING_S + 1


def test_signs_of_life_come_from_a_thread_of_their_own(world, monkeypatch):
    world.lease.release()
    monkeypatch.setattr(lease_module, "HEARTBEAT_S", 0.05)
    with world.store.acquire_lease("busy"):
        with world.store.database.write() as connection:
            connection.execute(text("UPDATE manager_lease SET renewed = 1, expires = 2"))
        deadline = time.monotonic() + 20
        while not status(world.store).manager.alive:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert not status(world.store).manager.alive


def test_an_idle_manager_learns_that_it_was_overtaken(world, monkeypatch):
    world.lease.release()
    monkeypatch.setattr(lease_module, "HEARTBEAT_S", 0.05)
    with world.store.acquire_lease("idle") as held:
        world.store.glance()
        take_over(world)
        with pytest.raises(LeaseHeld, match="was taken over by other"):
            world.store.glance()
        held._heart.join(20)
        assert not held._heart.is_alive()
        with pytest.raises(LeaseHeld):
            world.store.event("x", "info", "", {})


def test_a_sign_of_life_that_fails_is_tried_again(world, monkeypatch, caplog):
    world.lease.release()
    monkeypatch.setattr(lease_module, "HEARTBEAT_S", 0.02)
    real, calls = world.store.database.write, []

    def write():
        calls.append(1)
        if len(calls) in (2, 3):  # the first one takes the lease
            raise StoreError("the disk is full")
        return real()

    monkeypatch.setattr(world.store.database, "write", write)
    with world.store.acquire_lease("patient"):
        deadline = time.monotonic() + 20
        while len(calls) < 6:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        world.store.glance()
    assert caplog.text.count("no sign of life could be given: the disk is full") == 2


@pytest.mark.postgres
def test_a_lock_that_the_server_dropped_is_taken_again(
    postgres_world, postgres_server, monkeypatch
):
    world = postgres_world
    world.lease.release()
    monkeypatch.setattr(lease_module, "HEARTBEAT_S", 0.05)
    locks = "SELECT pid FROM pg_locks WHERE locktype = 'advisory'"
    name = postgres_server.names[-1]
    with world.store.acquire_lease("me"):
        ((pid,),) = postgres_server.execute(locks, name)
        postgres_server.execute(f"SELECT pg_terminate_backend({pid}, 5000)")
        deadline = time.monotonic() + 20
        while (found := postgres_server.execute(locks, name)) in ([], [(pid,)]):
            assert time.monotonic() < deadline, found
            time.sleep(0.05)
        world.store.begin_iteration(0, "build")
    assert postgres_server.execute(locks, name) == []


@pytest.mark.postgres
def test_the_clock_of_the_server_decides(postgres_world, monkeypatch):
    world = postgres_world
    monkeypatch.setattr(lease_module, "utc_now", lambda: time.time() + 1e6)
    monkeypatch.setattr("alflow.store.transaction.time.time", lambda: 1e10)
    world.lease.renew()
    shown = status(world.store).manager
    assert shown.alive
    assert shown.silent_s < 10


def test_a_store_that_is_gone_does_not_hide_the_first_error(world, monkeypatch, caplog):
    def broken():
        raise StoreError("the server is gone")

    monkeypatch.setattr(world.store.database, "write", broken)
    world.lease.release()
    assert "the lease could not be given back: the server is gone" in caplog.text
