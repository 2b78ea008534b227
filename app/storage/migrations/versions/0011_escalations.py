"""Which requests count against a quota of escalations, and which it changed."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("decisions", sa.Column("escalated", sa.Boolean()))
    op.add_column("decisions", sa.Column("limited_from", sa.String(128)))


def downgrade() -> None:
    with op.batch_alter_table("decisions") as decisions:
        decisions.drop_column("limited_from")
        decisions.drop_column("escalated")
