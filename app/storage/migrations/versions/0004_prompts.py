"""What was put in front of requests: library prompts, mixtures, identities."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

COLUMNS = ("prompt", "mixture", "identity")


def upgrade() -> None:
    for name in COLUMNS:
        op.add_column("decisions", sa.Column(name, sa.JSON()))


def downgrade() -> None:
    with op.batch_alter_table("decisions") as decisions:
        for name in COLUMNS:
            decisions.drop_column(name)
