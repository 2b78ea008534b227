"""The samples that answers were taken from."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

TABLES = ("decisions", "shadows")


def upgrade() -> None:
    for table in TABLES:
        op.add_column(table, sa.Column("samples", sa.JSON()))


def downgrade() -> None:
    for table in TABLES:
        with op.batch_alter_table(table) as changed:
            changed.drop_column("samples")
