"""Our speed beside its peers': the same requests, the same fake upstream, one pinned core each, in one run."""
