"""What a request was expected to cost, did cost, and would have cost with the fixed alternative."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

NUMBERS = (
    *("expected_cost", "expected_compute", "alternative_cost", "alternative_compute"),
    *("cost", "compute", "repeated_share"),
)


def upgrade() -> None:
    op.add_column("decisions", sa.Column("alternative", sa.String(128)))
    for name in NUMBERS:
        op.add_column("decisions", sa.Column(name, sa.Double()))


def downgrade() -> None:
    with op.batch_alter_table("decisions") as decisions:
        for name in (*reversed(NUMBERS), "alternative"):
            decisions.drop_column(name)
