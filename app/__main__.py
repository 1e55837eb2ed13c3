"""`python -m app` is the `quaymaster` command."""

from app.cli import main

main()
