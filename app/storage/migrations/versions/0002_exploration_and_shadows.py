"""Exploration's propensities, and shadow answers."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("decisions", sa.Column("explored_from", sa.String(128)))
    op.add_column("decisions", sa.Column("propensity", sa.Double()))
    op.create_table(
        "shadows",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("decision_id", sa.String(64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expert", sa.String(128), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("error_code", sa.String(128)),
        sa.Column("latency_ms", sa.Double()),
        sa.Column("usage", sa.JSON()),
        sa.Column("tokens", sa.Integer(), nullable=False),
        sa.Column("price", sa.Double(), nullable=False),
        sa.Column("answer", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_shadows"),
    )
    op.create_index("ix_shadows_created_at", "shadows", ["created_at"])
    op.create_index("ix_shadows_decision_id", "shadows", ["decision_id"])


def downgrade() -> None:
    op.drop_table("shadows")
    with op.batch_alter_table("decisions") as decisions:
        decisions.drop_column("propensity")
        decisions.drop_column("explored_from")
