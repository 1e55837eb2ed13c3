from __future__ import annotations

import pytest

from bench.machine import Cores, UnfitMachine


def test_the_contender_has_a_core_of_its_own() -> None:
    assert Cores.choose({3, 1}) == Cores(generator=1, upstream=1, contender=3)
    assert Cores.choose({0, 1, 2, 3}) == Cores(generator=0, upstream=2, contender=3)
    with pytest.raises(UnfitMachine, match="two cores"):
        Cores.choose({0})
