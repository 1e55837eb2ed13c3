from __future__ import annotations

import pytest

from bench.machine import Cores, UnfitMachine, description


def test_the_contender_has_a_core_of_its_own() -> None:
    assert Cores.choose({3, 1}) == Cores(generator=1, upstream=1, contender=3)
    assert Cores.choose({0, 1, 2, 3}) == Cores(generator=0, upstream=2, contender=3)
    with pytest.raises(UnfitMachine, match="two cores"):
        Cores.choose({0})


def test_all_cores_are_told_of_also_by_a_run_that_keeps_to_one() -> None:
    assert description({0, 1, 2})["cores"] == 3
