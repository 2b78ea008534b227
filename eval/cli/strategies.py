"""`coterie strategies`: the group."""

import typer

app = typer.Typer(
    name="strategies",
    help="Compare ways of asking several experts, on outcome tables.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
