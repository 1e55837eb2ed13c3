from __future__ import annotations

from bench.rounds import least_disturbed


def chosen(*others: float, repeat_seconds: float = 60) -> tuple[float, int]:
    """Of measurements that others disturbed so much: the share in the one chosen, and how many were made."""
    left = list(others)
    figures = least_disturbed(lambda: {"x_others_share": left.pop(0)}, "x_others_share", repeat_seconds)
    return figures["x_others_share"], len(others) - len(left)


def test_a_disturbed_measurement_is_made_again_until_one_is_undisturbed() -> None:
    assert chosen(0.01, 0.0) == (0.01, 1)
    assert chosen(0.5, 0.9, 0.02, 0.0) == (0.02, 3)


def test_where_the_time_is_up_the_least_disturbed_is_taken() -> None:
    assert chosen(0.5, 0.0, repeat_seconds=0) == (0.5, 1)
