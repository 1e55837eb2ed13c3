from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.local.blobs import BlobFolder, BlobWriter
from app.local.errors import ApiError
from app.local.uploads import MultipartUpload, boundary_of, read_disposition

FORM = (
    b"--b\r\nContent-Disposition: form-data; name=purpose\r\n\r\nbatch\r\n"
    b'--b\r\nContent-Disposition: form-data; name="other"\r\n\r\nignored\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\nContent-Type: text/plain\r\n\r\n'
    b"one\r\n--two\r\n--b-\r\n-b--\r\n"
    b'\r\n--b\r\nContent-Disposition: form-data; name="file_id"\r\n\r\nfile-1\r\n'
    b"--b--\r\nan epilogue"
)
FILE = b"one\r\n--two\r\n--b-\r\n-b--\r\n"


def read(folder: Path, pieces: list[bytes], boundary: bytes = b"b") -> tuple[MultipartUpload, bytes]:
    blobs = BlobFolder(folder)
    writer = BlobWriter(blobs, max_bytes=1000)
    try:
        form = MultipartUpload(boundary, writer)
        for piece in pieces:
            form.feed(piece)
        form.finish()
        return form, blobs.path(writer.finish().id).read_bytes()
    finally:
        writer.discard()


@given(cuts=st.sets(st.integers(1, len(FORM) - 1)))
def test_it_does_not_matter_where_a_body_is_cut(tmp_path_factory: pytest.TempPathFactory, cuts: set[int]) -> None:
    ends = [0, *sorted(cuts), len(FORM)]
    pieces = [FORM[start:end] for start, end in pairwise(ends)]
    form, content = read(tmp_path_factory.getbasetemp() / "cut", pieces)
    assert (form.filename, form.fields) == ("a.txt", {"purpose": "batch", "file_id": "file-1"})
    assert content == FILE


@pytest.mark.parametrize(
    "body",
    [
        b"",
        FORM[:50],
        FORM[: FORM.index(b"two")],
        FORM[: FORM.rindex(b"--b--")],
        b"no boundary at all",
        b"--c\r\n\r\n\r\n--c--\r\n",
        b"--b\r\nno colon\r\n\r\nx\r\n--b--\r\n",
        b"--b\r\n" + b"A: b\r\n" * 100 + b"\r\nx\r\n--b--\r\n",
        b"--b\r\nA: " + b"b" * 10_000 + b"\r\n\r\nx\r\n--b--\r\n",
        b"--b\r\nContent-Disposition: form-data; name=file; filename=a\r\n\r\nx\r\n" * 2 + b"--b--\r\n",
    ],
)
def test_a_broken_body_is_refused(tmp_path: Path, body: bytes) -> None:
    with pytest.raises(ApiError) as refused:
        read(tmp_path / "blobs", [body])
    assert (refused.value.status, refused.value.code) == (400, "invalid_multipart")
    assert list((tmp_path / "blobs").iterdir()) == []


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n'
    _, content = read(tmp_path / "blobs", [head, b"x" * 1000, b"\r\n--b--"])
    assert len(content) == 1000
    with pytest.raises(ApiError) as refused:
        read(tmp_path / "blobs", [head, b"x" * 1001])
    assert refused.value.status == 413


@pytest.mark.parametrize(
    ("value", "field", "filename"),
    [
        ('form-data; name="file"; filename="a b.txt"', "file", "a b.txt"),
        ("form-data; name=file; filename=a.txt", "file", "a.txt"),
        ('form-data; name="file"; filename="naïve ☃.txt"', "file", "naïve ☃.txt"),
        ('form-data; name="file"; filename="a;b=c \\"d\\".txt"', "file", 'a;b=c "d".txt'),
        ("form-data; name=\"file\"; filename*=UTF-8''na%C3%AFve.txt", "file", "naïve.txt"),
        ('form-data; name="file"; filename*=UTF-8\'\'x%20y; filename="other"', "file", "x y"),
        ('form-data; name="file"; filename="other"; filename*=UTF-8\'\'x%20y', "file", "x y"),
        ("form-data; name=\"file\"; filename*=latin-1''%E9", "file", "é"),
        ("form-data; name=\"file\"; filename*=no-such-charset''a", "file", "a"),
        ("form-data; name=\"file\"; filename*=UTF-8''..%2F..%2Fetc%2Fpasswd", "file", "passwd"),
        ('form-data; name="file"; filename="../../etc/passwd"', "file", "passwd"),
        ('form-data; name="file"; filename="C:\\\\dir\\\\a.txt"', "file", "a.txt"),
        ('form-data; name="file"; filename="dir/"', "file", ""),
        ('form-data; name="file"', "file", ""),
        ("form-data", "", ""),
        ("", "", ""),
    ],
)
def test_a_disposition(value: str, field: str, filename: str) -> None:
    assert read_disposition(value.encode()) == (field, filename)


@given(value=st.binary(max_size=200))
def test_no_disposition_is_too_strange(value: bytes) -> None:
    _, filename = read_disposition(b"form-data; name=file; filename" + value.replace(b"\r", b"").replace(b"\n", b""))
    assert "/" not in filename
    filename.encode()


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=abc", b"abc"),
        ('Multipart/Form-Data; charset=utf-8; boundary="a b:c"', b"a b:c"),
        ("application/json", None),
        ("multipart/mixed; boundary=abc", None),
        ("", None),
    ],
)
def test_a_boundary(content_type: str, boundary: bytes | None) -> None:
    assert boundary_of(content_type) == boundary


@pytest.mark.parametrize(
    "content_type", ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary"]
)
def test_a_form_without_a_boundary(content_type: str) -> None:
    with pytest.raises(ApiError, match="no boundary"):
        boundary_of(content_type)


def test_a_boundary_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(ApiError, match="too long"):
        read(tmp_path / "blobs", [], boundary=b"b" * 1000)
