"""One field is taken out of a multipart body, wherever it stands and however the bytes arrive."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from python_multipart.multipart import FormParser

from app.domain.errors import ErrorCode, GatewayError
from app.gateway import multipart
from app.gateway.multipart import MultipartFilter, boundary_of

FIELD = "custom_llm_provider"
BOUNDARY = b"----edge7MA4YWxkTrZu0gW"


@dataclass
class Part:
    name: str
    content: bytes
    filename: str | None = None

    def encode(self) -> bytes:
        filename = f'; filename="{self.filename}"' if self.filename is not None else ""
        head = f'Content-Disposition: form-data; name="{self.name}"{filename}\r\n\r\n'
        return b"--" + BOUNDARY + b"\r\n" + head.encode() + self.content + b"\r\n"


def encode(parts: list[Part]) -> bytes:
    return b"".join(part.encode() for part in parts) + b"--" + BOUNDARY + b"--\r\n"


def run(body: bytes, cuts: list[int] | None = None) -> tuple[bytes, MultipartFilter, bytes]:
    seen: list[bytes] = []
    taker = MultipartFilter(BOUNDARY, FIELD, seen.append)
    edges = sorted({0, len(body), *(cut % (len(body) + 1) for cut in cuts or [])})
    output = b"".join(taker.feed(body[start:end]) for start, end in pairwise(edges))
    taker.finish()
    return output, taker, b"".join(seen)


contents = st.binary(max_size=200) | st.sampled_from(
    [b"\r\n", b"\r\n--", b"\r\n--" + BOUNDARY[:-1], b"--" + BOUNDARY, b"\r" * 50, b"\r\n--" + BOUNDARY[:5] + b"\r\n"]
)
others = st.builds(
    Part, st.sampled_from(["file", "purpose", "x"]), contents, st.none() | st.sampled_from(["a.csv", "é"])
)
ours = st.builds(Part, st.just(FIELD), st.sampled_from([b"openai", b"local", b"", b"azure "]))


@given(st.lists(others | ours, max_size=6), st.lists(st.integers(0, 2000), max_size=30))
def test_what_is_left_is_the_body_without_the_field(parts: list[Part], cuts: list[int]) -> None:
    body = encode(parts)
    output, taker, files = run(body, cuts)
    kept = [part for part in parts if part.name != FIELD]
    assert output == encode(kept)
    assert taker.removed_bytes == len(body) - len(output)
    assert taker.fields == [
        (part.name, part.content.decode("utf-8", "replace").strip()) for part in kept if part.filename is None
    ]
    taken = [part.content.decode() for part in parts if part.name == FIELD]
    assert taker.value == (taken[0] if taken else None)
    assert files == b"".join(part.content for part in kept if part.filename is not None)


def test_a_real_parser_reads_what_is_left() -> None:
    body = encode([Part("file", b"a,b\n", "t.csv"), Part(FIELD, b"openai"), Part("purpose", b"x")])
    output, _, _ = run(body)
    fields: dict[bytes | None, bytes | None] = {}
    files: list[bytes | None] = []
    parser = FormParser(
        "multipart/form-data",
        lambda field: fields.update({field.field_name: field.value}),
        lambda file: files.append(file.file_name),
        boundary=BOUNDARY,
    )
    parser.write(output)
    parser.finalize()
    assert fields == {b"purpose": b"x"}
    assert files == [b"t.csv"]


def test_bytes_that_need_not_be_touched_are_not() -> None:
    body = (
        b"preamble\r\n--"
        + BOUNDARY
        + b" \t\r\ncontent-disposition: form-data; name=file; filename=x\r\nX-A: b\r\n\r\n\x00\xff"
    )
    body += b"\r\n--" + BOUNDARY + b"--  epilogue"
    output, taker, files = run(body)
    assert output == body
    assert files == b"\x00\xff"
    assert taker.removed_bytes == 0


@pytest.mark.parametrize("preamble", [b"\r\n", b"\r\n\r\n", b"\r", b"x\r\n"])
@pytest.mark.parametrize("cuts", [[], [1], [1, 2], [2], [3], [1, 2, 3, 4, 5]])
def test_what_stands_before_the_first_boundary_passes_too(preamble: bytes, cuts: list[int]) -> None:
    body = preamble + (b"" if preamble.endswith(b"\n") else b"\r\n") + encode([Part("file", b"x", "a")])
    output, taker, _ = run(body, cuts)
    assert output == body
    assert taker.removed_bytes == 0


@pytest.mark.parametrize("filename", ["", "a.csv", None])
@pytest.mark.parametrize("name", ["file_id", "file_ids[]", "container_id", "container"])
def test_what_names_something_is_told_whatever_else_its_part_says(name: str, filename: str | None) -> None:
    _, taker, _ = run(encode([Part("file", b"x" * 1000, "a"), Part(name, b" cfile_1\r\n", filename)]))
    assert taker.fields == [(name.removesuffix("[]"), "cfile_1")]


def test_what_names_something_is_told_before_the_body_is_whole() -> None:
    taker = MultipartFilter(BOUNDARY, FIELD, lambda piece: None)
    taker.feed(Part("file_id", b"cfile_1").encode())
    assert taker.fields == []
    taker.feed(b"--" + BOUNDARY)
    assert taker.fields == [("file_id", "cfile_1")]


def test_fields_that_are_long_and_name_nothing_pass_untold() -> None:
    body = encode([Part("comment", b"y" * 257), Part("x", b"y" * 256), Part("z", b"", "")])
    output, taker, _ = run(body)
    assert output == body
    assert taker.fields == [("x", "y" * 256), ("z", "")]


@pytest.mark.parametrize("encoding", [b"8bit", b"Binary ", b"7bit"])
def test_a_transfer_encoding_that_changes_nothing_is_none(encoding: bytes) -> None:
    body = encode([Part("file_id", b"cfile_1")]).replace(
        b'"file_id"', b'"file_id"\r\nContent-Transfer-Encoding: ' + encoding
    )
    assert run(body)[1].fields == [("file_id", "cfile_1")]


def test_the_value_is_known_as_soon_as_its_part_has_ended() -> None:
    taker = MultipartFilter(BOUNDARY, FIELD, lambda piece: None)
    taker.feed(Part(FIELD, b"azure").encode() + b"--" + BOUNDARY[:3])
    assert taker.value is None
    taker.feed(BOUNDARY[3:])
    assert taker.value == "azure"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "closing boundary"),
        (b"--" + BOUNDARY + b"\r\n", "closing boundary"),
        (encode([Part("file", b"x" * 50)])[:-20], "closing boundary"),
        (b"x" * (multipart.MAX_PREAMBLE_BYTES + 1), "before the first boundary"),
        (b"--" + BOUNDARY + b"junk\r\n\r\n", "end of its line"),
        (b"--" + BOUNDARY + b" " * 300, "end of its line"),
        (b"--" + BOUNDARY + b"\r\nX: " + b"y" * multipart.MAX_PART_HEADER_BYTES + b"\r\n", "headers of a part"),
        (encode([Part(FIELD, b"y" * 257)]), "longer than 256"),
        (encode([Part("a", b"")] * (multipart.MAX_PARTS + 1)), "more than 1000 parts"),
        (encode([Part("file_id", b"cfile_1" + b" " * 250)]), "file_id is longer than 256"),
        (
            encode([Part('x"\r\nContent-Disposition: form-data; name="file_id', b"")]),
            "more than one content disposition",
        ),
        (encode([Part('file_id"\r\ncontent-transfer-encoding:"base64', b"")]), "content transfer encoding"),
    ],
)
def test_broken_framing_is_refused(body: bytes, why: str) -> None:
    with pytest.raises(GatewayError, match=why) as refused:
        run(body)
    assert refused.value.code is ErrorCode.INVALID_MULTIPART


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=10))
def test_no_input_does_anything_but_pass_or_be_refused(body: bytes, cuts: list[int]) -> None:
    with contextlib.suppress(GatewayError):
        run(b"--" + BOUNDARY + b"\r\n" + body, cuts)


def test_memory_stays_small_while_a_file_goes_by() -> None:
    taker = MultipartFilter(BOUNDARY, FIELD, lambda piece: None)
    taker.feed(Part("file", b"", "big").encode()[:-2])
    for _ in range(100):
        piece = b"\r\n--" * 16_384
        assert len(piece) - len(taker.feed(piece)) <= 2 * len(BOUNDARY)


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        (b"multipart/form-data; boundary=abc", b"abc"),
        (b'Multipart/Form-Data; charset=x; boundary="a b"', b"a b"),
        (b"application/octet-stream", None),
        (b"multipart/mixed; boundary=x", None),
    ],
)
def test_boundaries(content_type: bytes, boundary: bytes | None) -> None:
    assert boundary_of(content_type) == boundary


@pytest.mark.parametrize(
    "content_type",
    [b"multipart/form-data", b"multipart/form-data; boundary=", b"multipart/form-data; boundary=" + b"x" * 201],
)
def test_multipart_without_a_usable_boundary_is_refused(content_type: bytes) -> None:
    with pytest.raises(GatewayError, match="boundary"):
        boundary_of(content_type)
