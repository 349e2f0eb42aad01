"""`python -m polity_cli` is the command `polity`."""

from polity_cli.cli.main import main

main()
