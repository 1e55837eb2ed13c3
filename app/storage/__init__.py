"""Durable state: virtual keys, in SQLite or PostgreSQL."""
