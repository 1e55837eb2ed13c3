"""The registry at work: who may use a container, lists, sweeps, reconciliation, clean-up."""
