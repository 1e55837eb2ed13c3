from __future__ import annotations

import pytest

from bench import plan, report
from bench.__main__ import main

COMPARED = (plan.FEW, plan.MANY_KEYS, plan.MANY_CONTAINERS, plan.MANY_DEPLOYMENTS, plan.REDIS, plan.WORKERS)


def test_every_contender_has_a_name_of_its_own_and_every_scenario_of_it_too() -> None:
    for whole in (plan.full(3), plan.quick(1)):
        titles = [part.contender.title for part in whole.parts]
        assert len(titles) == len(set(titles))
        for part in whole.parts:
            names = [scenario.name for scenario in part.scenarios]
            assert len(names) == len(set(names))


def test_all_peers_are_asked_the_same_but_for_the_crowd() -> None:
    parts = {part.contender.title: part for part in plan.full(3).parts}
    asked = {
        title: [scenario.name for scenario in parts[title].scenarios if scenario.name != "crowd"]
        for title in report.PEERS
    }
    assert len({tuple(names) for names in asked.values()}) == 1


def test_of_a_group_everybody_who_is_asked_for_a_figure_is_asked_alike() -> None:
    """Else they would not take turns at it."""
    for whole in (plan.full(3), plan.quick(1)):
        for group in whole.groups:
            scenarios = {scenario for part in group for scenario in part.scenarios}
            assert len(scenarios) == len({scenario.name for scenario in scenarios})


def test_who_is_compared_by_a_mark_is_in_one_group() -> None:
    groups = [{part.contender.title for part in group} for group in plan.full(3).groups]
    for together in (set(report.PEERS), {each.title for each in COMPARED}):
        assert any(together <= group for group in groups)


def test_a_contender_that_nobody_knows_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--only", "nginx,ngink"])
    assert "ngink unknown; there are: no gateway, nginx" in capsys.readouterr().err
