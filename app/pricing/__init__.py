"""What containers cost: a table with effective dates. Pure."""
