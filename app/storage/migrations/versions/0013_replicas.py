"""The replicas that answered, and those that have conversations."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

TABLES = ("decisions", "shadows")


def upgrade() -> None:
    for table in TABLES:
        op.add_column(table, sa.Column("replica", sa.JSON()))
    op.add_column("conversation_marks", sa.Column("replica", sa.String(32)))


def downgrade() -> None:
    for table in (*TABLES, "conversation_marks"):
        with op.batch_alter_table(table) as changed:
            changed.drop_column("replica")
