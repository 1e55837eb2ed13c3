"""Settings: YAML and environment, checked before anything starts."""
