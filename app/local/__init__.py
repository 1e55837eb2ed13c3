"""The embedded provider: the containers API on this machine's own disk, reached like any other upstream."""
