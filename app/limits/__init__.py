"""Who keeps count of requests: this process, or a Redis that several share."""
