"""What strategies of several experts did."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "decisions", sa.Column("strategy_source", sa.String(32), nullable=False, server_default="default")
    )
    op.add_column("decisions", sa.Column("strategy_detail", sa.Text(), nullable=False, server_default=""))
    op.add_column("decisions", sa.Column("trace", sa.JSON()))


def downgrade() -> None:
    with op.batch_alter_table("decisions") as decisions:
        decisions.drop_column("trace")
        decisions.drop_column("strategy_detail")
        decisions.drop_column("strategy_source")
