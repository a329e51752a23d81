"""Runs migrations on the connection that `services.migrate` hands over; there is no other way in."""

from alembic import context

from services.models import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
