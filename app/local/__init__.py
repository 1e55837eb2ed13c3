"""The embedded provider: the containers API on this machine's own disk, reached like any other upstream.

A request goes `application` (credential, path, errors) → `handlers` and `files_api` (one method per operation) →
`containers` and `files` (what is known, in SQLite) and `blobs` (bytes, one file each). It also serves alone, as the
stand-in that clients are tested against, so it is strict where OpenAI is strict.
"""
