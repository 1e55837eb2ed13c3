"""What requests are called."""

from __future__ import annotations

import os
import re
import time

from app.api.failing import new_request_id


def test_ids_grow_with_time_and_are_all_different() -> None:
    first = new_request_id()
    begun = time.time()
    while int(time.time() * 1000) <= int(begun * 1000) + 1:
        pass
    ids = [new_request_id() for _ in range(10_000)]
    assert first < min(ids)
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch("req_[0-9a-f]{32}", one) for one in ids)


def test_processes_that_part_give_different_ids() -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, new_request_id()[-20:].encode())
        os._exit(0)
    ours = new_request_id()[-20:]
    os.waitpid(child, 0)
    assert os.read(reading, 20).decode() != ours
    os.close(reading)
    os.close(writing)
