"""An index for each filter of the list of decisions, in the order of its pages."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

FILTERS = ("category", "expert", "reason", "status", "model", "api_key")
BEFORE = ("category", "expert")


def upgrade() -> None:
    for name in BEFORE:
        op.drop_index(f"ix_decisions_{name}", "decisions")
    for name in FILTERS:
        op.create_index(f"ix_decisions_{name}_created_at_id", "decisions", [name, "created_at", "id"])


def downgrade() -> None:
    for name in FILTERS:
        op.drop_index(f"ix_decisions_{name}_created_at_id", "decisions")
    for name in BEFORE:
        op.create_index(f"ix_decisions_{name}", "decisions", [name])
