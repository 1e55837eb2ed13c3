from __future__ import annotations

from ipaddress import ip_address

import pytest

from app.domain.addresses import client_address, is_allowed, parse_address, parse_network

PROXIES = [parse_network("10.0.0.0/8"), parse_network("2001:db8:1::/48")]


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("192.0.2.7", "192.0.2.7/32"),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("2001:db8::1", "2001:db8::1/128"),
        ("::ffff:192.0.2.7", "192.0.2.7/32"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::/0", "::/0"),
    ],
)
def test_networks_are_read(text: str, network: str) -> None:
    assert str(parse_network(text)) == network


@pytest.mark.parametrize("text", ["", "localhost", "10.0.0.1/8", "10.0.0.0/33", "10.0.0", "10.0.0.0/8 ", "1.2.3.4:80"])
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"such as 192\.0\.2\.7 or 10\.0\.0\.0/8"):
        parse_network(text)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("192.0.2.7:4711", "192.0.2.7"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("[::ffff:192.0.2.7]:80", "192.0.2.7"),
        ("unknown", "None"),
        ("", "None"),
        ("_hidden", "None"),
        ("010.0.0.1", "None"),
        ("[2001:0db8:0000:0000:0000:0000:0000:0001%eth-with-long]:65535", "2001:db8::1%eth-with-long"),
        ("1" * 65, "None"),
    ],
)
def test_addresses_are_read(text: str, address: str) -> None:
    assert str(parse_address(text)) == address


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        pytest.param("192.0.2.7", [], "192.0.2.7", id="nobody stands in between"),
        pytest.param("192.0.2.7", ["198.51.100.1"], "192.0.2.7", id="whoever is not trusted is not believed"),
        pytest.param("10.0.0.1", [], "10.0.0.1", id="a proxy that says nothing is the client"),
        pytest.param("10.0.0.1", ["198.51.100.1"], "198.51.100.1", id="one proxy"),
        pytest.param(
            "10.0.0.1", ["6.6.6.6, 198.51.100.1"], "198.51.100.1", id="what the client made up is passed over"
        ),
        pytest.param("10.0.0.1", ["6.6.6.6", "198.51.100.1"], "198.51.100.1", id="two headers are one list"),
        pytest.param("10.0.0.1", ["198.51.100.1,10.2.0.1 , 10.3.0.1"], "198.51.100.1", id="three proxies"),
        pytest.param("10.0.0.1", ["10.9.0.1, 10.2.0.1"], "10.9.0.1", id="a client inside"),
        pytest.param("::ffff:10.0.0.1", ["::ffff:198.51.100.1"], "198.51.100.1", id="in the clothes of IPv6"),
        pytest.param("2001:db8:1::5", ["[2001:db8:2::1]:99"], "2001:db8:2::1", id="IPv6"),
        pytest.param("10.0.0.1", ["198.51.100.1, unknown"], "None", id="a proxy that hides whom it heard from"),
        pytest.param("10.0.0.1", [""], "None", id="an empty header"),
        pytest.param(None, ["198.51.100.1"], "None", id="no peer"),
    ],
)
def test_who_asks_is_told_from_the_right(peer: str | None, forwarded: list[str], client: str) -> None:
    assert str(client_address(peer, forwarded, PROXIES)) == client


def test_without_trusted_proxies_nothing_is_believed() -> None:
    assert str(client_address("127.0.0.1", ["198.51.100.1"], [])) == "127.0.0.1"


def test_who_cannot_be_told_is_in_no_network() -> None:
    everywhere = [parse_network("0.0.0.0/0"), parse_network("::/0")]
    assert is_allowed(ip_address("192.0.2.7"), everywhere)
    assert is_allowed(ip_address("2001:db8::1"), everywhere)
    assert not is_allowed(ip_address("192.0.2.7"), everywhere[1:])
    assert not is_allowed(None, everywhere)
