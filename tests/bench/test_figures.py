from __future__ import annotations

from bench.figures import Summary, summarise


def test_every_turn_of_every_round_counts_towards_median_and_range() -> None:
    found = summarise([{"speed": (3.0, 7.0), "cpu": (10,)}, {"speed": (100.0, 2.0), "cpu": (30,)}])
    assert found == {"speed": Summary((3.0, 7.0, 100.0, 2.0)), "cpu": Summary((10, 30))}
    assert (found["speed"].median, found["speed"].lowest, found["speed"].highest) == (5.0, 2.0, 100.0)


def test_what_took_turns_is_compared_turn_by_turn() -> None:
    """A machine that is slow for a turn is slow for both, and not for the medians of both."""
    ours, theirs = Summary((10, 20, 11)), Summary((40, 80, 100))
    assert ours.beside(theirs) == 0.25
    assert ours.median / theirs.median == 11 / 80
    assert theirs.more_than(ours) == 60
    assert theirs.median - ours.median == 69


def test_where_one_of_them_missed_a_turn_the_medians_are_compared() -> None:
    assert Summary((10, 20)).beside(Summary((40, 80, 100))) == 15 / 80
    assert Summary((10, 20)).more_than(Summary((1, 2, 4))) == 13


def test_a_figure_that_was_refused_in_any_round_has_no_summary() -> None:
    assert set(summarise([{"speed": (1,), "cpu": (1,)}, {"cpu": (2,)}])) == {"cpu"}
    assert set(summarise([{"cpu": (2,)}, {"speed": (1,), "cpu": (1,)}])) == {"cpu"}
    assert summarise([]) == {}
