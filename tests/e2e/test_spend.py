"""The ledger and its reports, as an operator reads them over real sockets, from the embedded provider's containers."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.serving import ServingGateway, serving_gateway

LEAST = 0.0075
"""What a container of 1 GB costs at the least, in USD."""


async def make(gateway: ServingGateway, key: str, *, delete: bool = False, **fields: Any) -> str:
    headers = {"Authorization": f"Bearer {key}"}
    answer = await gateway.client.post("/v1/containers", json={"name": "crate", **fields}, headers=headers)
    assert answer.status_code == 200, answer.text
    container_id: str = answer.json()["id"]
    if delete:
        assert (await gateway.client.delete(f"/v1/containers/{container_id}", headers=headers)).status_code == 200
    return container_id


async def get(gateway: ServingGateway, path: str, **query: Any) -> Any:
    answer = await gateway.client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_the_life_of_a_container_can_be_read(tmp_path: Path) -> None:
    async with serving_gateway(tmp_path) as gateway:
        key = await gateway.make_key(team_id="sea", user_id="ann", tags=["batch"], key_alias="reports")
        container_id = await make(gateway, key, delete=True)
        page = await get(gateway, "/spend/logs", order="asc")
        kinds = [(entry["kind"], entry["spend"], entry["reserved"]) for entry in page["data"]]
        assert kinds == [("reserve", 0, 0.03), ("settle", LEAST, -LEAST), ("release", 0, LEAST - 0.03)]
        assert sum(entry["reserved"] for entry in page["data"]) == pytest.approx(0)
        first, *others = page["data"]
        assert {entry["container_id"] for entry in others} == {container_id}
        assert (first["team_id"], first["user_id"], first["tags"]) == ("sea", "ann", ["batch"])
        assert (first["provider"], first["deployment"], first["memory_limit"]) == ("local", "local", "1g")
        assert all(entry["request_id"].startswith("req_") for entry in page["data"])
        assert (page["first_id"], page["last_id"], page["has_more"]) == (first["id"], others[-1]["id"], False)
        info = (await get(gateway, "/key/info", key="reports"))["info"]
        assert (info["spend"], info["reserved"]) == (LEAST, 0)


async def test_pages_and_filters(tmp_path: Path) -> None:
    async with serving_gateway(tmp_path) as gateway:
        sea = await gateway.make_key(team_id="sea", key_alias="sea", tags=["x"])
        air = await gateway.make_key(team_id="air")
        for key in (sea, air, sea):
            await make(gateway, key)
        everything = (await get(gateway, "/spend/logs"))["data"]
        assert [entry["id"] for entry in everything] == sorted((entry["id"] for entry in everything), reverse=True)
        seen: list[int] = []
        page: dict[str, Any] = {"has_more": True}
        while page["has_more"]:
            after = {"after": page["last_id"]} if seen else {}
            page = await get(gateway, "/spend/logs", limit=2, **after)
            seen += [entry["id"] for entry in page["data"]]
        assert seen == [entry["id"] for entry in everything]
        for wanted in ({"team_id": "sea"}, {"key": "sea"}, {"api_key": sea}, {"tag": "x"}):
            found = (await get(gateway, "/spend/logs", **wanted))["data"]
            assert {entry["team_id"] for entry in found} == {"sea"}, wanted
            assert len(found) == 4
        today = datetime.now(UTC).date()
        day = timedelta(days=1)
        assert len((await get(gateway, "/spend/logs", start_date=today - day, end_date=today + day))["data"]) == 6
        assert (await get(gateway, "/spend/logs", start_date=today + day))["data"] == []


async def test_reports(tmp_path: Path) -> None:
    async with serving_gateway(tmp_path) as gateway:
        sea = await gateway.make_key(team_id="=HYPERLINK(1)", tags=["x", "y"])
        air = await gateway.make_key(team_id="air", user_id="bob")
        await make(gateway, sea)
        await make(gateway, air, memory_limit="4g")
        report = await get(gateway, "/spend/report", group_by="team")
        assert report["data"] == [
            {"team": "air", "spend": 4 * LEAST, "containers": 1},
            {"team": "=HYPERLINK(1)", "spend": LEAST, "containers": 1},
        ]
        assert await get(gateway, "/global/spend/report", group_by="customer,tier") == {
            "group_by": ["user", "tier"],
            "data": [
                {"user": "bob", "tier": "4g", "spend": 4 * LEAST, "containers": 1},
                {"user": None, "tier": "1g", "spend": LEAST, "containers": 1},
            ],
            "has_more": False,
        }
        [today] = (await get(gateway, "/spend/report", group_by="day"))["data"]
        assert (today["day"], today["containers"]) == (datetime.now(UTC).date().isoformat(), 2)
        tags = {line["individual_request_tag"]: line["total_spend"] for line in await get(gateway, "/spend/tags")}
        assert tags == {None: 4 * LEAST, "x": LEAST, "y": LEAST}
        assert [line["user_id"] for line in await get(gateway, "/spend/users")] == ["bob", None]
        assert [line["spend"] for line in await get(gateway, "/spend/keys")] == [4 * LEAST, LEAST]
        sheet = await gateway.client.get("/spend/report", params={"group_by": "team", "format": "csv"})
        assert sheet.headers["content-type"] == "text/csv; charset=utf-8"
        assert sheet.headers["x-quaymaster-has-more"] == "false"
        cut = await gateway.client.get("/spend/report", params={"group_by": "team", "format": "csv", "limit": 1})
        assert (cut.headers["x-quaymaster-has-more"], len(cut.text.splitlines())) == ("true", 2)
        assert list(csv.reader(io.StringIO(sheet.text))) == [
            ["team", "spend_usd", "containers"],
            ["air", "0.03", "1"],
            ["'=HYPERLINK(1)", "0.0075", "1"],
        ]


@pytest.mark.parametrize(
    ("path", "query", "code", "param"),
    [
        ("/spend/logs", {"team": "sea"}, "unknown_parameter", "team"),
        ("/spend/logs", {"start_date": "yesterday"}, "invalid_value", "start_date"),
        ("/spend/logs", {"start_date": "2026-02-02", "end_date": "2026-02-01"}, "invalid_value", "end_date"),
        ("/spend/logs", {"limit": "0"}, "invalid_value", "limit"),
        ("/spend/logs", {"after": "x"}, "invalid_type", "after"),
        ("/spend/logs", {"after": str(2**63)}, "invalid_value", "after"),
        ("/spend/logs", {"start_date": "0001-01-01T00:00:00+14:00"}, "invalid_value", "start_date"),
        ("/spend/report", {"end_date": "9999-12-31T23:59:59-14:00"}, "invalid_value", "end_date"),
        ("/spend/logs", {"key": "nobody"}, "key_not_found", "key"),
        ("/spend/logs", {"key": "a", "api_key": "b"}, "invalid_value", "api_key"),
        ("/spend/report", {"group_by": "planet"}, "invalid_value", "group_by.0"),
        ("/spend/report", {"group_by": "key,api_key"}, "invalid_value", "group_by"),
        ("/spend/report", {"format": "xlsx"}, "invalid_value", "format"),
    ],
)
async def test_what_is_wrong_with_a_question_is_said(
    tmp_path: Path, path: str, query: dict[str, str], code: str, param: str
) -> None:
    async with serving_gateway(tmp_path) as gateway:
        answer = await gateway.client.get(path, params=query)
        error = answer.json()["error"]
        assert (error["code"], error["param"]) == (code, param), error
        assert answer.status_code == (404 if code == "key_not_found" else 400)


async def test_the_last_day_there_is_can_be_named(tmp_path: Path) -> None:
    async with serving_gateway(tmp_path) as gateway:
        await make(gateway, await gateway.make_key())
        assert (await get(gateway, "/spend/logs", start_date="0001-01-01", end_date="9999-12-31"))["data"]


@pytest.mark.parametrize(("role", "status"), [("member", 403), ("viewer", 200), ("admin", 200)])
async def test_who_may_ask(tmp_path: Path, role: str, status: int) -> None:
    async with serving_gateway(tmp_path) as gateway:
        key = await gateway.make_key(role=role)
        for path in ("/spend/logs", "/spend/report", "/spend/tags"):
            answer = await gateway.client.get(path, headers={"Authorization": f"Bearer {key}"})
            assert answer.status_code == status, answer.text
