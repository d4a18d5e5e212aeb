"""One manager at a time."""

import subprocess
import sys
import textwrap

import pytest
from sqlalchemy import text

from alflow.core.errors import LeaseHeld, StoreError
from alflow.core.tasks import Outcome
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
    command = [sys.executable, "-c", HOLDER, str(world.path)]
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
    with open_store(world.path) as other, pytest.raises(LeaseHeld) as caught:
        other.acquire_lease("second")
    assert caught.value.exit_code == 4
    assert f"alflow status {world.path}" in caught.value.next_step


def test_a_second_name_is_no_second_lock(world):
    link = world.path.with_name("link.db")
    link.symlink_to(world.path.name)
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
    with open_store(world.path) as store, store.acquire_lease("next") as lease:
        assert lease.epoch == 2


def test_there_is_no_lease_without_a_campaign(tmp_path):
    with open_store(tmp_path / "a.db", create=True) as store:
        assert store.campaign_or_none() is None
        with pytest.raises(StoreError, match="holds no campaign yet"):
            store.acquire_lease("me")
