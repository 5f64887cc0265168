"""`python -m meyrin` is `meyrin`."""

from meyrin.cli.main import main

main()
