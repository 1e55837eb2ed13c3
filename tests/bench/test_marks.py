from __future__ import annotations

from typing import Any

from bench import marks, plan

KINDS = (
    "per_second",
    "p50_us",
    "p99_us",
    "cpu_us",
    "balance_ratio",
    "bytes_per_second",
    "growth_bytes",
    "unfairness_ratio",
)


def document(**figures: dict[str, float]) -> dict[str, Any]:
    rounds = {title: {name: [figure] for name, figure in one.items()} for title, one in figures.items()}
    return {"contenders": {title.replace("_", " "): {"rounds": [one]} for title, one in rounds.items()}}


def found(text: str, **figures: dict[str, float]) -> list[str]:
    return next(row[1:] for row in marks.table(document(**figures)) if row[0] == text)


def test_a_mark_is_met_missed_or_not_measured() -> None:
    text = "retrieve at 64 connections, beside nginx"
    nginx = {"retrieve_64_per_second": 50_000.0}
    assert found(text, nginx=nginx, quaymaster={"retrieve_64_per_second": 10_000}) == ["≥ 0.2 x", "0.2 x", "yes"]
    assert found(text, nginx=nginx, quaymaster={"retrieve_64_per_second": 9_000}) == ["≥ 0.2 x", "0.18 x", "no"]
    assert found(text, nginx=nginx) == ["≥ 0.2 x", "-", "-"]


def test_what_has_to_be_less_is_not_met_at_its_limit() -> None:
    text = "… p99 beside p50"
    at = {"retrieve_64_p50_us": 100.0, "retrieve_64_p99_us": 300.0}
    assert found(text, quaymaster=at) == ["< 3 x", "3 x", "no"]
    assert found(text, quaymaster=at | {"retrieve_64_p99_us": 299.0})[2] == "yes"


def test_two_workers_count_by_their_cpu_time_and_only_as_far_as_both_work() -> None:
    text = "two workers on two cores, beside one"
    one = {"retrieve_64_cpu_us": 100.0}
    even = {"retrieve_64_cpu_us": 100.0, "retrieve_64_balance_ratio": 1.0}
    assert found(text, redis=one, **{"2 workers": even})[1:] == ["2 x", "yes"]
    assert found(text, redis=one, **{"2 workers": even | {"retrieve_64_balance_ratio": 0.0}})[1:] == ["1 x", "no"]
    assert found(text, redis=one, **{"2 workers": even | {"retrieve_64_cpu_us": 125.0}})[1:] == ["1.6 x", "no"]


def test_to_be_faster_with_more_is_no_loss() -> None:
    text = "retrieve at 64, slower with 100,000 keys than with 10"
    few, many = {"retrieve_64_per_second": 100.0}, {"retrieve_64_per_second": 105.0}
    assert found(text, **{"10 keys": few, "100k keys": many})[1:] == ["-5 %", "yes"]
    assert found(text, **{"10 keys": many, "100k keys": {"retrieve_64_per_second": 90.0}})[1:] == ["14 %", "no"]


def test_every_mark_can_be_measured_by_the_full_plan() -> None:
    """Each scenario's figures are what its name begins; a mark that asks for another one could never be met."""
    every = {
        part.contender.title: {
            "ready_us": 1.0,
            "idle_rss_bytes": 1.0,
            **{f"{scenario.name}_{rest}": 1.0 for scenario in part.scenarios for rest in KINDS},
            "alone_p99_us": 1.0,
        }
        for part in plan.full(1).parts
    }
    assert [row[0] for row in marks.table(document(**every)) if row[3] == "-"] == []
