"""Commands on a database server: what they take, and what they never show."""

import pytest

from alflow.store import open_store

pytestmark = pytest.mark.postgres
SECRET = "s3cret-Word"


@pytest.fixture
def url(new_postgres_store):
    """A store with a campaign, by a URL without a password."""
    made = new_postgres_store()
    with open_store(made) as store:
        store.create_campaign("water", {"name": "water"}, 7)
        with store.acquire_lease("node1 (pid 1)"):
            store.begin_iteration(0, "build")
    return made


@pytest.fixture
def secret_url(url, postgres_server):
    """The same for a user with a password."""
    name = postgres_server.names[-1]
    postgres_server.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO locked", name)
    postgres_server.execute("GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO locked", name)
    return url.replace("postgres@", f"locked:{SECRET}@")


def test_looking_without_showing_the_password(alflow, secret_url, monkeypatch):
    monkeypatch.setenv("ALFLOW_DB", secret_url)
    for command in (["status"], ["db", "info"], ["ls", "iterations"], ["stop"]):
        result = alflow(*command)
        assert result.code in (0, 3), result.err
        assert SECRET not in result.out + result.err
    info = alflow("db", "info", "--json").json
    assert info["database"].startswith("postgresql://locked@/test_")


def test_a_password_on_the_command_line_is_warned_of(alflow, secret_url):
    for arguments in (["status", secret_url], ["status", "--db", secret_url]):
        result = alflow(*arguments)
        assert "can be read by everybody on this machine" in result.err
        assert "~/.pgpass" in result.err
        assert SECRET not in result.out + result.err
    result = alflow("status", secret_url, "--db", secret_url + "x")
    assert result.code == 2
    assert SECRET not in result.err


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (SECRET, "wrong-word", "refuses the password"),
        ("/test_", "/none_", "no such database"),
        ("host=/", "host=/none/", "no server answers"),
    ],
)
def test_what_is_wrong_with_it_is_told_on_one_screen(
    alflow, secret_url, monkeypatch, old, new, words
):
    monkeypatch.setenv("ALFLOW_DB", secret_url.replace(old, new))
    for command in (["status"], ["resume"], ["db", "info"]):
        result = alflow(*command)
        assert result.code == 2
        assert words in result.err
        assert "[AL304]" in result.err
        assert SECRET not in result.err
        assert "wrong-word" not in result.err
        assert len(result.err.splitlines()) <= 5


def test_a_run_takes_the_database_from_the_environment(alflow, postgres_url, monkeypatch):
    assert alflow("init", "al", "-t", "aluminum-gupta").code == 0
    monkeypatch.setenv("ALFLOW_DB", postgres_url)
    result = alflow("check", "al/campaign.yaml")
    assert "is empty yet; run fills it" in result.out + result.err
    result = alflow("run", "al/campaign.yaml", "--dry-run")
    assert result.code == 0, result.err
    assert "begin-iteration" in result.out
    result = alflow("status")
    assert result.code == 2
    assert "is empty" in result.err
