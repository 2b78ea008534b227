"""By what a conversation is recognised that has no name: digests of its messages, tool calls and state."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "conversation_marks",
        sa.Column("mark", sa.String(64), nullable=False),
        sa.Column("expert", sa.String(128), nullable=False),
        sa.Column("category", sa.String(128)),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("mark", "expert", name="pk_conversation_marks"),
    )
    op.create_index("ix_conversation_marks_seen_at", "conversation_marks", ["seen_at"])


def downgrade() -> None:
    op.drop_table("conversation_marks")
