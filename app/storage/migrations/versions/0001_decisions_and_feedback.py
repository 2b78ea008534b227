"""Decisions and feedback."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "decisions",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("api_key", sa.String(128)),
        sa.Column("conversation", sa.String(128)),
        sa.Column("model", sa.String(256), nullable=False),
        sa.Column("stream", sa.Boolean(), nullable=False),
        sa.Column("composition", sa.String(128), nullable=False),
        sa.Column("classification", sa.String(32), nullable=False),
        sa.Column("category", sa.String(128)),
        sa.Column("probability", sa.Double()),
        sa.Column("runners_up", sa.JSON(), nullable=False),
        sa.Column("ood_score", sa.Double()),
        sa.Column("ranking", sa.JSON(), nullable=False),
        sa.Column("expert", sa.String(128), nullable=False),
        sa.Column("strategy", sa.String(64), nullable=False),
        sa.Column("reason", sa.String(32), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("spilled_from", sa.String(128)),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("http_status", sa.Integer(), nullable=False),
        sa.Column("error_code", sa.String(128)),
        sa.Column("latency_ms", sa.Double()),
        sa.Column("first_byte_ms", sa.Double()),
        sa.Column("usage", sa.JSON()),
        sa.Column("messages", sa.JSON()),
        sa.PrimaryKeyConstraint("id", name="pk_decisions"),
    )
    op.create_index("ix_decisions_created_at_id", "decisions", ["created_at", "id"])
    op.create_index("ix_decisions_conversation_created_at", "decisions", ["conversation", "created_at"])
    op.create_index("ix_decisions_category", "decisions", ["category"])
    op.create_index("ix_decisions_expert", "decisions", ["expert"])
    op.create_index("ix_decisions_request_id", "decisions", ["request_id"])
    op.create_table(
        "feedback",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("decision_id", sa.String(64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("api_key", sa.String(128)),
        sa.Column("rating", sa.Integer()),
        sa.Column("score", sa.Double()),
        sa.Column("comment", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_feedback"),
    )
    op.create_index("ix_feedback_decision_id", "feedback", ["decision_id"])


def downgrade() -> None:
    op.drop_table("feedback")
    op.drop_table("decisions")
