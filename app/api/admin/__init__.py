"""The control plane: keys, for operators with the master key."""
