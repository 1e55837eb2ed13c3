"""Hooks that come with the gateway, each written against `app.hooks.spec` like anybody else's."""
