"""What was put in front of shadow requests: library prompts, mixtures, identities."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

COLUMNS = ("prompt", "mixture", "identity")


def upgrade() -> None:
    for name in COLUMNS:
        op.add_column("shadows", sa.Column(name, sa.JSON()))


def downgrade() -> None:
    with op.batch_alter_table("shadows") as shadows:
        for name in COLUMNS:
            shadows.drop_column(name)
