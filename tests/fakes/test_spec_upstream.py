"""The fake refuses what the specification has no room for: a fake that takes everything proves nothing."""

from __future__ import annotations

import pytest

from tests.fakes.multipart import Part, form_parts
from tests.fakes.scripted import Received
from tests.fakes.spec_upstream import answer

FORM = b"multipart/form-data; boundary=b"
FILE = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n\r\n--\r\n--b--\r\n'


def status(method: bytes, target: bytes, body: bytes = b"", content_type: bytes = b"application/json") -> int:
    request = Received(method, target, [(b"Content-Type", content_type)], b"", bytearray(body), whole=True)
    return int(answer(request).split(b" ")[1])


@pytest.mark.parametrize(
    ("method", "target", "expected"),
    [
        (b"GET", b"/v1/containers?limit=0", 200),
        (b"GET", b"/openai/v1/containers/container_id/files/file_id/content", 200),
        (b"DELETE", b"/v1/containers/a%2Fb", 200),
        (b"GET", b"/containers", 404),
        (b"GET", b"/v1/v1/containers", 404),
        (b"GET", b"/v1/containers/", 404),
        (b"GET", b"/v1/containers/a/b", 404),
        (b"DELETE", b"/v1/containers", 405),
        (b"PUT", b"/v1/containers/a/files/b", 405),
    ],
)
def test_paths_and_methods(method: bytes, target: bytes, expected: int) -> None:
    assert status(method, target) == expected


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        (b"{}", b"application/json", 200),
        (b'{"file_id":"file_id"}', b"application/json", 200),
        (FILE, FORM, 200),
        (FILE + b"\r\n\r\n", FORM, 200),
        (b"", b"application/json", 400),
        (b"[]", b"application/json", 400),
        (FILE, b"multipart/form-data", 400),
        (FILE.removesuffix(b"--\r\n"), FORM, 400),
        (FILE[1:], FORM, 400),
        (FILE + b"x", FORM, 400),
        (FILE.replace(b' name="file";', b""), FORM, 400),
    ],
)
def test_bodies_of_a_file(body: bytes, content_type: bytes, expected: int) -> None:
    assert status(b"POST", b"/v1/containers/container_id/files", body, content_type) == expected


@pytest.mark.parametrize(
    ("body", "expected"), [(b'{"name":"x"}', 200), (b"{}", 400), (b'{"name":5}', 400), (b'{"name":"x"', 400)]
)
def test_bodies_of_a_create(body: bytes, expected: int) -> None:
    assert status(b"POST", b"/v1/containers", body) == expected


def test_the_parts_of_a_form() -> None:
    field = b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nx\r\n'
    assert form_parts(FORM, field + FILE) == [Part("purpose", None, b"x"), Part("file", "a.txt", b"\r\n--")]
