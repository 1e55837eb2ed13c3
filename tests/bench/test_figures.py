from __future__ import annotations

from bench.figures import Summary, summarise


def test_figures_come_together_as_median_and_range() -> None:
    rounds = [{"speed": 3.0, "cpu": 10}, {"speed": 100.0, "cpu": 30}, {"speed": 2.0, "cpu": 20}]
    assert summarise(rounds) == {"speed": Summary(3.0, 2.0, 100.0), "cpu": Summary(20, 10, 30)}
    assert summarise(rounds[:2])["speed"] == Summary(51.5, 3.0, 100.0)


def test_a_figure_that_was_refused_in_any_round_has_no_summary() -> None:
    assert set(summarise([{"speed": 1, "cpu": 1}, {"cpu": 2}])) == {"cpu"}
    assert set(summarise([{"cpu": 2}, {"speed": 1, "cpu": 1}])) == {"cpu"}
    assert summarise([]) == {}
