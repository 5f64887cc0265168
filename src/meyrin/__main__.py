"""`python -m meyrin` is `meyrin`."""

from meyrin.cli.start import main

main()
