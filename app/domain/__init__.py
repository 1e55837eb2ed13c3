"""The vocabulary: what an exchange, a principal, a deployment and an error are. No I/O, no framework."""
