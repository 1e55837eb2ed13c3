"""Which deployment, whether it is well, and whether to try again: pure, no I/O, the clock is passed in."""
