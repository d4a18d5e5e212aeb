"""A store on a PostgreSQL server: its URLs, its errors, its creation."""

import builtins
import subprocess
import sys
import textwrap

import pytest

from alflow.core.errors import NotAnAlflowStore, PluginError, StoreError
from alflow.core.urls import has_password, is_server, without_secrets
from alflow.store import open_store
from alflow.store.opening import is_blank

SECRET = "s3cret-Word"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("water.db", "water.db"),
        ("sqlite:////tmp/a:b@c.db", "sqlite:////tmp/a:b@c.db"),
        ("postgresql://host/name", "postgresql://host/name"),
        ("postgresql+psycopg://me@host:5433/name", "postgresql://me@host:5433/name"),
        (f"postgresql://me:{SECRET}@host/name", "postgresql://me@host/name"),
        (f"postgres://me:{SECRET}@host/name", "postgres://me@host/name"),
        (f"postgresql://:{SECRET}@host/name", "postgresql://host/name"),
        (f"postgresql://me:a@{SECRET}@host/name", "postgresql://me@host/name"),
        (f"postgresql://me:a/{SECRET}@host/name", "postgresql://me@host/name"),
        (f"postgresql://me:a?{SECRET}@host/name", "postgresql://me@host/name"),
        (f"postgresql://host/name?password={SECRET}", "postgresql://host/name"),
        (
            f"postgresql://host/name?user=me&password={SECRET}&sslpassword={SECRET}",
            "postgresql://host/name?user=me",
        ),
        ("postgresql:///name?host=/run/pg", "postgresql:///name?host=/run/pg"),
        ("postgresql:///?service=alflow", "postgresql:///?service=alflow"),
    ],
)
def test_a_name_of_a_database_shows_no_password(url, shown):
    assert without_secrets(url) == shown
    assert has_password(url) == (SECRET in url)
    assert is_server(url) == url.startswith("postgres")
    assert without_secrets(shown) == shown
    assert not has_password(shown)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (f"mysql://me:{SECRET}@host/name", "cannot keep a store in 'mysql'"),
        (f"postgresql+asyncpg://me:{SECRET}@host/name", "cannot keep a store in"),
        (f"postgresql://me:a@{SECRET}@host/name", "write %40 for an @"),
        (f"postgresql://me:{SECRET}@host:port/name", "cannot be understood"),
        (f"://{SECRET}", "cannot be understood"),
    ],
)
def test_urls_that_are_not_understood_are_not_repeated(url, message):
    with pytest.raises(StoreError, match=message) as caught:
        open_store(url)
    assert SECRET not in str(caught.value)


def test_a_missing_driver_is_named_with_its_cure(monkeypatch):
    real = builtins.__import__

    def without_psycopg(name, *args, **more):
        if name == "psycopg":
            raise ImportError(name)
        return real(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", without_psycopg)
    with pytest.raises(PluginError, match="psycopg") as caught:
        open_store("postgresql://host/name")
    assert caught.value.code == "AL201"
    assert caught.value.next_step == 'pip install "alflow[postgres]"'


def one_screen(error: StoreError) -> str:
    """The message, which is short, has a next step, and holds no password."""
    text = str(error)
    assert error.exit_code == 2
    assert SECRET not in text
    assert "wrong-word" not in text
    assert error.next_step
    assert len(text.splitlines()) <= 4
    assert len(text) < 700
    return text


@pytest.mark.postgres
class TestErrors:
    """Each error is told on one screen, with what to do, without the password."""

    def test_a_wrong_password(self, postgres_server, new_postgres_store):
        url = new_postgres_store().replace("postgres@", "locked:wrong-word@")
        with pytest.raises(StoreError) as caught:
            open_store(url)
        text = one_screen(caught.value)
        assert "refuses the password" in text
        assert "~/.pgpass" in text
        assert caught.value.code == "AL304"

    def test_no_password(self, new_postgres_store, monkeypatch, tmp_path):
        monkeypatch.setenv("PGPASSFILE", str(tmp_path / "none"))
        url = new_postgres_store().replace("postgres@", "locked@")
        with pytest.raises(StoreError) as caught:
            open_store(url)
        assert "asks for a password" in one_screen(caught.value)

    def test_an_unknown_database(self, postgres_server):
        with pytest.raises(StoreError) as caught:
            open_store(postgres_server.url("nowhere"))
        assert "no such database" in one_screen(caught.value)

    def test_an_unknown_user(self, postgres_server):
        with pytest.raises(StoreError) as caught:
            open_store(postgres_server.url("postgres", user="nobody-here"))
        assert "no such user" in one_screen(caught.value)

    @pytest.mark.parametrize(
        ("url", "message"),
        [
            (f"postgresql://me:{SECRET}@localhost:1/name", "no server answers"),
            (f"postgresql://me:{SECRET}@/name?host=/nowhere", "no server answers"),
            (f"postgresql://me:{SECRET}@host.invalid/name", "no such host"),
            ("postgresql:///?service=nowhere", "no such service"),
        ],
    )
    def test_no_server(self, postgres_server, url, message):
        for create in (False, True):
            with pytest.raises(StoreError) as caught:
                open_store(url, create=create)
            assert message in one_screen(caught.value)

    def test_a_user_without_rights(self, new_postgres_url):
        url = new_postgres_url().replace("postgres@", f"locked:{SECRET}@")
        with pytest.raises(StoreError) as caught:
            open_store(url, create=True)
        text = one_screen(caught.value)
        assert "may not do this" in text
        assert "GRANT" in text
        assert is_blank(url)

    def test_a_server_that_hangs_up(self, postgres_world, postgres_server):
        world, server = postgres_world, postgres_server
        server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = "
            f"'{server.names[-1]}'"
        )
        # A connection that was cut between two transactions is replaced.
        world.bootstrap()
        with (  # noqa: PT012 (the block is what is cut)
            pytest.raises(StoreError) as caught,
            world.store.database.write() as connection,
        ):
            pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
            server.execute(f"SELECT pg_terminate_backend({pid}, 5000)")
            connection.exec_driver_sql("SELECT 1")
        assert "the server ended the connection" in one_screen(caught.value)
        world.label_all()


@pytest.mark.postgres
def test_credentials_of_libpq_are_enough(
    postgres_server, new_postgres_store, tmp_path, monkeypatch
):
    name = new_postgres_store().partition("@/")[2].partition("?")[0]
    postgres_server.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO locked", name)
    services, passwords = tmp_path / "services.conf", tmp_path / "pgpass"
    services.write_text(
        f"[alflow]\nhost={postgres_server.folder}\ndbname={name}\nuser=locked\n"
    )
    passwords.write_text(f"*:*:{name}:locked:{SECRET}\n")
    passwords.chmod(0o600)
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    monkeypatch.setenv("PGPASSFILE", str(passwords))
    with open_store("postgresql:///?service=alflow", read_only=True) as store:
        assert store.campaign_or_none() is None
        assert store.name == "postgresql:///?service=alflow"
    monkeypatch.setenv("PGSERVICE", "alflow")
    open_store("postgresql://", read_only=True).close()


@pytest.mark.postgres
def test_a_password_leaves_no_trace(postgres_server, new_postgres_url):
    url = new_postgres_url()
    name = url.partition("@/")[2].partition("?")[0]
    postgres_server.execute("GRANT CREATE ON SCHEMA public TO locked", name)
    mine = url.replace("postgres@", f"locked:{SECRET}@")
    with open_store(mine, create=True) as store:
        store.create_campaign("x", {}, 1)
        with store.acquire_lease("me"):
            store.begin_iteration(0, "build")
        assert store.name == without_secrets(mine)
        assert SECRET not in repr(store.database.engine)
    tables = postgres_server.execute(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'public'", name
    )
    for (table,) in tables:
        text = str(postgres_server.execute(f'SELECT * FROM "{table}"', name))
        assert SECRET not in text


@pytest.mark.postgres
def test_an_empty_database_becomes_a_store_only_if_asked(postgres_url):
    assert is_blank(postgres_url)
    for more in ({}, {"read_only": True}, {"read_only": True, "create": True}):
        with pytest.raises(NotAnAlflowStore, match="is empty") as caught:
            open_store(postgres_url, **more)
        assert "alflow run" in caught.value.next_step
    assert is_blank(postgres_url)
    open_store(postgres_url, create=True).close()
    assert not is_blank(postgres_url)
    open_store(postgres_url, read_only=True).close()


@pytest.mark.postgres
def test_a_database_of_something_else_is_left_alone(postgres_server, postgres_url):
    name = postgres_url.partition("@/")[2].partition("?")[0]
    postgres_server.execute("CREATE TABLE alembic_version (version_num text)", name)
    for create in (False, True):
        with pytest.raises(NotAnAlflowStore, match="is not an alflow store") as caught:
            open_store(postgres_url, create=create)
        assert "of its own" in caught.value.next_step
    tables = postgres_server.execute(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'public'", name
    )
    assert tables == [("alembic_version",)]


CREATOR = textwrap.dedent(
    """
    import sys
    from contextlib import suppress
    from alflow.core.errors import StoreError
    from alflow.store import open_store

    sys.stdin.readline()
    with open_store(sys.argv[1], create=True) as store:
        with suppress(StoreError):
            store.create_campaign(sys.argv[2], {}, 1)
        print(store.campaign().name)
    """
)


def test_many_creators_agree_on_one_campaign(new_database):
    url = new_database()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", CREATOR, url, f"c{k}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for k in range(4)
    ]
    said = [process.communicate("go\n", timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0, 0]
    assert len(set(said)) == 1


@pytest.mark.postgres
def test_the_content_is_the_same_on_both(postgres_world, sqlite_world):
    postgres_world.whole()
    sqlite_world.whole()
    expected = sqlite_world.store.content_digest()
    assert postgres_world.store.content_digest() == expected
