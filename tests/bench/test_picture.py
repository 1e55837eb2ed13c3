from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from bench import picture

SVG = "{http://www.w3.org/2000/svg}"


def document(**speeds: tuple[float, float, float]) -> dict[str, Any]:
    """Of contenders with these speeds of retrieving, one for each turn."""
    return {
        "rounds": 3,
        "machine": {"cpu": "a <fast> one"},
        "contenders": {title: {"rounds": [{"retrieve_64_per_second": turns}]} for title, turns in speeds.items()},
    }


def bars(text: str) -> list[float]:
    return [float(bar.attrib["width"]) for bar in ElementTree.fromstring(text).iter(f"{SVG}rect")]


def test_bars_are_as_long_as_their_medians() -> None:
    nginx, ours = bars(picture.svg(document(nginx=(100, 100, 100), quaymaster=(50, 50, 50))))
    assert nginx == 2 * ours


def test_a_range_goes_from_the_lowest_to_the_highest_and_stays_in_its_panel() -> None:
    text = picture.svg(document(nginx=(50, 75, 100)))
    ends = [
        path.attrib["d"] for path in ElementTree.fromstring(text).iter(f"{SVG}path") if path.get("class") == "range"
    ]
    start, _, rest = ends[0].removeprefix("M").partition(" ")
    end = rest.partition("H")[2].partition("M")[0]
    left, width = float(start), bars(text)[0]
    assert float(end) - left == 2 * width / 3
    assert float(end) < 460


def test_what_did_not_vary_has_no_range() -> None:
    assert 'class="range"' not in picture.svg(document(nginx=(75, 75, 75)))


def test_names_and_machines_are_escaped_and_both_colour_schemes_are_there() -> None:
    text = picture.svg(document(nginx=(1, 1, 1)))
    captions = [each.text or "" for each in ElementTree.fromstring(text).iter(f"{SVG}text")]
    assert any("a <fast> one" in caption for caption in captions)
    assert "prefers-color-scheme: dark" in text


def test_peers_without_a_figure_have_no_bar() -> None:
    found = document(nginx=(1, 2, 3), quaymaster=(1, 2, 3))
    found["contenders"]["quaymaster"]["rounds"] = [{}]
    assert len(bars(picture.svg(found))) == 1
