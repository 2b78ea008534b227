"""`python -m app.cli`: the `coterie` command without an installation."""

from app.cli.root import main

main()
