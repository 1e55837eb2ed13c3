"""Plugins: what they may observe (`spec.py`), how they are called (`runner.py`), and the built-in ones."""
