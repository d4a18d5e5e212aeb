"""A PostgreSQL server for the tests, and an empty database on it for each that asks.

Where no server is installed those tests are skipped, in CI (ALFLOW_CI=1) they fail.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says something about the machine, nothing about the program.
settings.register_profile("alflow", deadline=None)
settings.load_profile("alflow")

PASSWORD_USER = "locked"
"""A user of the server who needs a password; `postgres` needs none."""
PASSWORD = "s3cret-Word"

_BINARIES = Path("/usr/lib/postgresql")
_FAST = "-c fsync=off -c full_page_writes=off -c synchronous_commit=off"
_ACCESS = f"local all {PASSWORD_USER} scram-sha-256\nlocal all all trust\n"


@dataclass
class Server:
    """A running PostgreSQL server that listens on a socket in `folder`."""

    folder: Path
    n_databases: int = 0
    names: list[str] = field(default_factory=list)

    def url(self, name: str, user: str = "postgres", scheme: str = "postgresql") -> str:
        return f"{scheme}://{user}@/{name}?host={self.folder}"

    def create(self, template: str = "template0") -> str:
        """URL of a new database, a copy of a template."""
        self.n_databases += 1
        name = f"test_{self.n_databases}"
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        self.names.append(name)
        return self.url(name, scheme="postgresql+psycopg")

    def drop_all(self) -> None:
        """Drop what `create` made, whoever is still connected to it."""
        while self.names:
            self.execute(f'DROP DATABASE "{self.names.pop()}" WITH (FORCE)')

    def execute(self, statement: str, name: str = "postgres") -> list[tuple]:
        """Run a statement outside of transactions; its rows."""
        import psycopg

        with psycopg.connect(self.url(name), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []


def _newest(program: str) -> str | None:
    found = sorted(_BINARIES.glob(f"*/bin/{program}"), key=lambda path: int(path.parts[-3]))
    return str(found[-1]) if found else shutil.which(program)


def _absent(reason: str) -> None:
    if os.environ.get("ALFLOW_CI") == "1":
        pytest.fail(f"{reason}; CI must not skip the tests that need it")
    pytest.skip(reason)


def _run_as_server(folder: Path, *command: str) -> None:
    if os.geteuid() == 0:  # initdb refuses root
        command = ("runuser", "-u", "postgres", "--", *command)
    done = subprocess.run(
        command, cwd=folder, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    if done.returncode:
        pytest.fail(f"{' '.join(command)}: {done.stderr.decode(errors='replace')}")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """A PostgreSQL server of this test session, without network and without durability."""
    initdb, pg_ctl = _newest("initdb"), _newest("pg_ctl")
    if initdb is None or pg_ctl is None:
        _absent("no PostgreSQL server is installed")
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    # Not pytest's own folder: its name is too long for a socket, and closed to other users.
    folder = Path(tempfile.mkdtemp(prefix="alflow-pg-"))
    data = folder / "data"
    try:
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(folder, user.pw_uid, user.pw_gid)
        options = ("-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8", "--locale=C")
        _run_as_server(folder, initdb, "-D", str(data), *options)
        (data / "pg_hba.conf").write_text(_ACCESS)
        settings = f"-c listen_addresses='' -k {folder} {_FAST} -c max_connections=200"
        log = str(folder / "log")
        _run_as_server(
            folder, pg_ctl, "-D", str(data), "-w", "-l", log, "-o", settings, "start"
        )
        try:
            server = Server(folder)
            server.execute(f"CREATE ROLE {PASSWORD_USER} LOGIN PASSWORD '{PASSWORD}'")
            yield server
        finally:
            _run_as_server(folder, pg_ctl, "-D", str(data), "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def _store_template(postgres_server: Server) -> str:
    """A database with an empty store in it: copying it is faster than making the schema."""
    from alflow.store import open_store

    name = "store_template"
    postgres_server.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    open_store(postgres_server.url(name), create=True).close()
    return name


@pytest.fixture
def new_postgres_url(postgres_server: Server) -> Iterator[Callable[[], str]]:
    """Makes empty databases; gives the URL of each."""
    yield postgres_server.create
    postgres_server.drop_all()


@pytest.fixture
def postgres_url(new_postgres_url: Callable[[], str]) -> str:
    """URL of an empty database."""
    return new_postgres_url()


@pytest.fixture
def new_postgres_store(
    postgres_server: Server, _store_template: str
) -> Iterator[Callable[[], str]]:
    """Makes databases with a store without a campaign; gives the URL of each."""
    yield lambda: postgres_server.create(_store_template)
    postgres_server.drop_all()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def backend(request) -> str:
    """The kind of database; a test that uses it runs on each."""
    return request.param


@pytest.fixture
def new_database(request, backend: str, tmp_path_factory) -> Callable[[], str]:
    """Makes places for a store, empty yet; gives the URL of each."""
    if backend == "postgres":
        return request.getfixturevalue("new_postgres_url")
    return lambda: f"sqlite:///{tmp_path_factory.mktemp('database') / 'new.db'}"
