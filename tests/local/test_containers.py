from __future__ import annotations

import tempfile
import time
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from app.local.containers import Containers
from app.local.creation import ContainerSpec
from app.local.database import Cursor, Database
from app.local.files import UploadedFiles
from tests.local.hosting import Clock


def spec(name: str, minutes: int = 20) -> ContainerSpec:
    return ContainerSpec(name, minutes, "1g", '{"type":"disabled"}', ())


class PagesMatchAModel(RuleBasedStateMachine):
    """Whatever is made, used and deleted in whatever order, pages show it as sorting a list would."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = Clock()
        self.database = Database(Path(self.folder.name) / "records.db", self.clock)
        self.containers = Containers(self.database, UploadedFiles(self.database))
        self.made: list[tuple[int, int, str, str]] = []
        self.alive: set[str] = set()

    def teardown(self) -> None:
        self.database.close()
        self.folder.cleanup()

    @rule(name=st.sampled_from("ab"), minutes=st.integers(1, 20))
    def create(self, name: str, minutes: int) -> None:
        container, _ = self.containers.create(spec(name, minutes))
        self.made.append((container.created_at, len(self.made), container.id, name))
        self.alive.add(container.id)

    @rule(which=st.integers(0))
    def delete(self, which: int) -> None:
        if self.alive:
            container_id = sorted(self.alive)[which % len(self.alive)]
            self.containers.delete(container_id)
            self.alive.remove(container_id)

    @rule(seconds=st.sampled_from([0.3, 1, 70, -2]))
    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(which=st.integers(0), limit=st.integers(1, 4), descending=st.booleans(), name=st.sampled_from("ab"))
    def page_from(self, which: int, limit: int, descending: bool, name: str) -> None:
        if self.made:
            order = sorted(self.made, reverse=descending)
            place = which % len(order)
            wanted = [row[2] for row in order[place + 1 :] if row[2] in self.alive and row[3] == name]
            page = self.containers.page(Cursor(limit, descending, after=order[place][2]), name)
            assert [container.id for container in page.items] == wanted[:limit]
            assert page.has_more == (len(wanted) > limit)

    @invariant()
    def the_first_page_is_right(self) -> None:
        newest = [row[2] for row in sorted(self.made, reverse=True) if row[2] in self.alive]
        page = self.containers.page(Cursor(), None)
        assert [container.id for container in page.items] == newest[:20]


TestPages = PagesMatchAModel.TestCase
TestPages.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)


def test_ten_thousand_containers_list_in_milliseconds(tmp_path: Path) -> None:
    clock = Clock()
    database = Database(tmp_path / "records.db", clock)
    containers = Containers(database, UploadedFiles(database))
    middle = containers.create(spec("a"))[0].id
    database.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)"
        " INSERT INTO containers"
        " (id, name, created_at, last_active_at, minutes, expires_at, memory_limit, network_policy)"
        " SELECT 'cntr_' || i, 'n' || (i % 10), ?1 + i - 5000, ?1, 20, ?1 + 1200, '1g', '{}' FROM n",
        (database.now(),),
    )
    for cursor, name in ((Cursor(100), None), (Cursor(100, after=middle), None), (Cursor(100, after=middle), "n3")):
        began = time.perf_counter()
        assert len(containers.page(cursor, name).items) == 100
        assert time.perf_counter() - began < 0.02
    database.close()
