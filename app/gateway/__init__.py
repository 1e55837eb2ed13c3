"""The data plane: one file per phase, in the order that `pipeline.py` runs them."""
