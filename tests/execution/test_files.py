import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alflow.core.errors import AlflowError
from alflow.core.labels import Failure, FailureKind
from alflow.core.tasks import AttemptRef, Outcome, TaskSpec
from alflow.execution.files import CampaignFiles, Claim

ATTEMPT = AttemptRef(3, 1, "abc", "toy-echo")
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
shared = settings(
    max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def started(files, attempt=ATTEMPT):
    """The same attempt, claimed by this process."""
    assert files.claim(attempt, Claim.of_this_process())
    files.beat(attempt)
    return attempt


@shared
@given(content=st.binary())
def test_a_blob_comes_back_under_its_hash(files, content):
    name = files.write_blob(content)
    assert files.read_blob(name) == content
    assert files.write_blob(content) == name
    assert (files.root / "blobs" / name[:2] / name).is_file()


def test_a_damaged_blob_is_refused_and_mended_by_writing_again(files):
    name = files.write_blob(b"weights")
    path = files.root / "blobs" / name[:2] / name
    path.write_bytes(b"weight")
    with pytest.raises(AlflowError, match=r"damaged: 6 bytes"):
        files.read_blob(name)
    files.write_blob(b"weights")
    assert files.read_blob(name) == b"weights"


def test_a_missing_blob_is_an_error_that_names_the_file(files):
    with pytest.raises(AlflowError, match=r"cannot be read: No such file"):
        files.read_blob("0" * 64)


@pytest.mark.parametrize(
    "name", ["", "..", "../../etc/passwd", "0" * 63, "0" * 64 + "\n", "A" * 64]
)
def test_only_a_hash_names_a_blob(files, name):
    with pytest.raises(ValueError, match="blob name"):
        files.read_blob(name)


@shared
@given(
    item=st.from_regex(r"[0-9A-Za-z_-]{1,128}", fullmatch=True),
    result=st.dictionaries(st.text(), json_values),
)
def test_an_item_comes_back_as_it_was(tmp_path_factory, item, result):
    files = CampaignFiles(tmp_path_factory.mktemp("items"))
    started(files)
    files.write_item(ATTEMPT, item, result)
    assert files.read_items(3) == {item: result}


@pytest.mark.parametrize("content", [b"", b"weights"])
def test_a_checkpoint_comes_back_as_it_was_until_it_is_dropped(files, content):
    started(files)
    files.write_checkpoint(3, b"older")
    files.write_checkpoint(3, content)
    assert files.read_checkpoint(3) == content
    (files.root / "tasks" / "3" / ".checkpoint.half").write_bytes(b"")
    files.drop_checkpoint(3)
    files.drop_checkpoint(3)
    assert files.read_checkpoint(3) is None
    assert [path.name for path in (files.root / "tasks" / "3").iterdir()] == ["attempts"]


@pytest.mark.parametrize("content", [b"", b"short", b"\0" * 40])
def test_a_damaged_checkpoint_is_an_error_that_names_the_file(files, content):
    started(files)
    files.write_checkpoint(3, b"whole")
    (files.root / "tasks" / "3" / "checkpoint").write_bytes(content)
    with pytest.raises(AlflowError, match=r"tasks/3/checkpoint: damaged"):
        files.read_checkpoint(3)


tricks = st.sampled_from(
    ["", ".", "..", "a/b", "../x", "/etc/x", "a\\b", "a\0b", "a\n", "x" * 129]
)
odd_names = st.text().filter(
    lambda text: re.fullmatch(r"[0-9A-Za-z_-]{1,128}", text) is None
)


@shared
@given(item=tricks | odd_names)
def test_an_item_name_cannot_leave_its_folder(files, item):
    with pytest.raises(ValueError, match="item"):
        files.write_item(ATTEMPT, item, {})


@pytest.mark.parametrize("name", ["items", "..", ".hidden", "a/b", "/abs", "", "a\n"])
def test_an_output_name_is_a_plain_file_name(files, name):
    with pytest.raises(ValueError, match=r"output"):
        files.write_output(ATTEMPT, name, b"")


@pytest.mark.parametrize("token", ["../x", "a/b", "", "."])
def test_a_token_cannot_leave_the_task(files, token):
    with pytest.raises(ValueError, match="token"):
        files.claim(replace(ATTEMPT, token=token), Claim())


def test_items_of_all_attempts_are_found_and_the_earliest_wins(files):
    second, tenth = (replace(ATTEMPT, number=number) for number in (2, 10))
    for attempt in (tenth, second):
        started(files, attempt)
        files.write_item(attempt, "both", {"from": attempt.number})
    files.write_item(tenth, "late", {"from": 10})
    assert files.read_items(3) == {"both": {"from": 2}, "late": {"from": 10}}
    assert files.read_items(99) == {}


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b'{"result": 1}', b'{"result": {"x": 2}, "sha256": "0"}']
)
def test_a_damaged_item_counts_as_not_done(files, damage):
    started(files)
    files.write_item(ATTEMPT, "good", {"x": 1})
    folder = files.attempt_directory(ATTEMPT) / "out" / "items"
    (folder / "bad.json").write_bytes(damage)
    (folder / ".half.json.1234").write_bytes(b"{")
    assert files.read_items(3) == {"good": {"x": 1}}


def test_a_number_that_is_not_finite_is_not_committed(files):
    started(files)
    with pytest.raises(ValueError, match="JSON"):
        files.write_item(ATTEMPT, "a", {"energy": float("nan")})
    assert files.read_items(3) == {}


def test_a_spec_comes_back_and_a_broken_one_is_named(files):
    spec = TaskSpec(
        "toy-echo", "echo/1", 2**62, {"x": [1.5, None]}, {"in": "0" * 64}, ("a", "b")
    )
    files.write_spec(3, spec)
    assert files.read_spec(3) == spec
    (files.root / "tasks" / "3" / "spec.json").write_text('{"kind": "x"}')
    with pytest.raises(AlflowError, match=r"3/spec\.json: not a task specification"):
        files.read_spec(3)


def test_a_result_is_read_only_with_its_outputs_whole(files):
    started(files)
    assert files.read_result(ATTEMPT) is None
    sha256 = files.write_output(ATTEMPT, "weights.bin", b"1234")
    outcome = Outcome({"loss": 0.1}, {"weights.bin": sha256}, None, 2.5, {"host": "h"})
    files.commit_result(ATTEMPT, outcome)
    assert files.read_result(ATTEMPT) == outcome
    assert files.read_output(ATTEMPT, "weights.bin") == b"1234"

    (files.attempt_directory(ATTEMPT) / "out" / "weights.bin").write_bytes(b"12")
    damaged = files.read_result(ATTEMPT)
    assert damaged.failure.kind is FailureKind.LOST
    assert "weights.bin" in damaged.failure.message

    (files.attempt_directory(ATTEMPT) / "out" / "weights.bin").unlink()
    assert "cannot be read" in files.read_result(ATTEMPT).failure.message


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[1]",
        b"null",
        b"{}",
        b"\xff",
        b'{"values":{},"outputs":[],"failure":3,"wall_s":0,"environment":{}}',
    ],
)
def test_a_damaged_result_is_a_retryable_failure(files, content):
    started(files)
    (files.attempt_directory(ATTEMPT) / "result.json").write_bytes(content)
    failure = files.read_result(ATTEMPT).failure
    assert failure.kind is FailureKind.LOST
    assert failure.is_retryable


def test_a_result_that_names_a_file_elsewhere_is_damaged(files):
    started(files)
    content = Outcome(outputs={"../../spec.json": "0" * 64}).to_json()
    (files.attempt_directory(ATTEMPT) / "result.json").write_text(json.dumps(content))
    assert files.read_result(ATTEMPT).failure.kind is FailureKind.LOST


def test_one_of_many_gets_the_claim(files):
    with ThreadPoolExecutor(16) as threads:
        won = list(
            threads.map(lambda _: files.claim(ATTEMPT, Claim.of_this_process()), range(64))
        )
    assert won.count(True) == 1


def test_claim_and_revocation_exclude_each_other(files):
    for number in range(20):
        attempt = replace(ATTEMPT, number=number)
        with ThreadPoolExecutor(2) as threads:
            claimed = threads.submit(files.claim, attempt, Claim.of_this_process())
            revoked = threads.submit(files.revoke, attempt)
        assert claimed.result() != revoked.result()
        assert files.revoke(attempt) == revoked.result()
        assert files.claim_of(attempt).is_revoked == revoked.result()


def test_a_claim_tells_who_has_it(files):
    assert files.claim_of(ATTEMPT) is None
    started(files)
    assert files.claim_of(ATTEMPT).pid == os.getpid()


def test_a_claim_that_was_cut_short_is_still_a_claim(files):
    started(files)
    (files.attempt_directory(ATTEMPT) / "claim.json").write_bytes(b'{"host": "no')
    assert files.claim_of(ATTEMPT) == Claim()
    assert not files.revoke(ATTEMPT)
    assert files.is_alive(ATTEMPT)


def test_alive_means_claimed_beating_and_not_ended(files):
    assert not files.is_alive(ATTEMPT)
    started(files)
    assert files.is_alive(ATTEMPT)
    files.commit_result(ATTEMPT, Outcome(failure=Failure(FailureKind.BUG, "x")))
    assert not files.is_alive(ATTEMPT)


def test_a_stale_heartbeat_is_dead_and_clocks_are_not_compared(files, monkeypatch):
    started(files)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert files.is_alive(ATTEMPT)
    for name in ("heartbeat", "claim.json"):
        os.utime(files.attempt_directory(ATTEMPT) / name, (1e9, 1e9))
    assert not files.is_alive(ATTEMPT)
    files.beat(ATTEMPT)
    assert files.is_alive(ATTEMPT)


def test_a_worker_that_died_here_is_dead_at_once(files):
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    from alflow.execution.processes import start_time

    claim = replace(
        Claim.of_this_process(), pid=process.pid, started=start_time(process.pid)
    )
    files.claim(ATTEMPT, claim)
    files.beat(ATTEMPT)
    assert files.is_alive(ATTEMPT)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not files.is_alive(ATTEMPT), "a zombie is dead"
    process.wait()
    assert not files.is_alive(ATTEMPT)


def test_another_process_with_the_same_number_is_not_the_worker(files):
    files.claim(ATTEMPT, replace(Claim.of_this_process(), started="1"))
    files.beat(ATTEMPT)
    assert not files.is_alive(ATTEMPT)


def test_on_another_machine_only_the_heartbeat_counts(files):
    files.claim(
        ATTEMPT, replace(Claim.of_this_process(), machine="elsewhere", pid=1, started="1")
    )
    assert files.is_alive(ATTEMPT)


def test_progress_is_read_back_or_nothing(files):
    assert files.read_progress(ATTEMPT) is None
    started(files)
    files.write_progress(ATTEMPT, {"epoch": 3, "loss": float("inf")})
    assert files.read_progress(ATTEMPT) == {"epoch": 3, "loss": float("inf")}
    (files.attempt_directory(ATTEMPT) / "progress.json").write_text("{")
    assert files.read_progress(ATTEMPT) is None
