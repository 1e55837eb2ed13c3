from __future__ import annotations

from bench.figures import Summary, medians, summarise


def test_figures_come_together_as_median_and_range() -> None:
    rounds = [{"speed": 3.0, "cpu": 10}, {"speed": 100.0, "cpu": 30}, {"speed": 2.0, "cpu": 20}]
    assert summarise(rounds) == {"speed": Summary((3.0, 100.0, 2.0)), "cpu": Summary((10, 30, 20))}
    speed = summarise(rounds)["speed"]
    assert (speed.median, speed.lowest, speed.highest) == (3.0, 2.0, 100.0)
    assert summarise(rounds[:2])["speed"].median == 51.5


def test_what_was_measured_in_the_same_rounds_is_compared_round_by_round() -> None:
    """A machine that is slow in one round is slow for both, and not for the medians of both."""
    ours, theirs = Summary((10, 20, 11)), Summary((40, 80, 100))
    assert ours.beside(theirs) == 0.25
    assert ours.median / theirs.median == 11 / 80


def test_what_was_not_is_compared_by_its_medians() -> None:
    assert Summary((10, 20)).beside(Summary((40, 80, 100))) == 15 / 80


def test_of_several_turns_the_median_counts_and_only_what_all_of_them_have() -> None:
    assert medians([{"speed": 3.0, "cpu": 10}, {"speed": 100.0}, {"speed": 2.0, "cpu": 20}]) == {"speed": 3.0}
    assert medians([]) == {}


def test_a_figure_that_was_refused_in_any_round_has_no_summary() -> None:
    assert set(summarise([{"speed": 1, "cpu": 1}, {"cpu": 2}])) == {"cpu"}
    assert set(summarise([{"cpu": 2}, {"speed": 1, "cpu": 1}])) == {"cpu"}
    assert summarise([]) == {}
