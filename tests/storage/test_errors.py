from __future__ import annotations

import pytest

from app.storage.errors import unavailable

SERVER = 'connection failed: connection to server at "db.internal" (10.1.2.3), port 5432 failed: '


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('FATAL:  password authentication failed for user "ann"', "FATAL:  password authentication failed for user"),
        ('FATAL:  database "q" does not exist', "FATAL:  database does not exist"),
        ('FATAL:  no pg_hba.conf entry for host "10.1.2.3", user "ann"', "FATAL:  no pg_hba.conf entry for host, user"),
        ("FATAL:  sorry, too many clients already", "FATAL:  sorry, too many clients already"),
        ("Connection refused\n\tIs the server running on that host?", "Connection refused"),
        ('connection is bad: invalid sslmode value: "x"', "invalid sslmode value"),
        ("failed to resolve host 'db.internal': [Errno -2] Name or service not known", "Name or service not known"),
        ("FATAL:  Datenbank »q« existiert nicht", "Exception"),
        ("could not look up db.internal", "Exception"),
    ],
)
def test_words_are_taken_over_without_names(text: str, reason: str) -> None:
    assert str(unavailable(Exception(SERVER + text))) == f"the database did not answer ({reason})"


def test_what_is_not_known_is_named_by_its_type() -> None:
    assert str(unavailable(OSError(2, "No such file", "/srv/secret"))) == (
        "the database did not answer (FileNotFoundError)"
    )
