"""Run by Alembic: migrate on the connection that the store hands over, in its transaction."""

from alembic import context

from alflow.store.migrations import VERSION_TABLE
from alflow.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    transactional_ddl=True,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
