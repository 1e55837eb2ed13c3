"""Quaymaster: the containers API behind one key, wherever the containers live."""
