from __future__ import annotations

import json

import pytest

from module_gateway.observe.secrets import HIDDEN, Scrubber, secret_values, without_secrets

PEM = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----\n"
CONFIG = {
    "broker": {"user": "vehicle", "password": "geheim-1"},
    "api-key": "geheim-2",
    "list": [{"Token": "geheim-3"}],
    "url": "mqtt://vehicle:geheim-4@broker:1883",
    "inline": PEM,
    "psk": 4711,
    "pin": 7,
    "keepalive-s": 15,
    "client-key": "/etc/key.pem",
    "empty": {"password": ""},
}


def test_secrets_are_hidden_by_the_names_of_their_fields_and_in_addresses() -> None:
    shown = without_secrets(CONFIG)
    text = json.dumps(shown)
    assert "geheim" not in text
    assert "MIIEvQ" not in text
    assert shown["broker"] == {"user": "vehicle", "password": HIDDEN}
    assert shown["url"] == f"mqtt://{HIDDEN}@broker:1883"
    assert (shown["psk"], shown["pin"], shown["keepalive-s"]) == (HIDDEN, 7, 15)
    assert shown["client-key"] == "/etc/key.pem"
    assert shown["empty"] == {"password": ""}


def test_the_values_that_are_hidden_are_known() -> None:
    known = {"geheim-1", "geheim-2", "geheim-3", "geheim-4", PEM, "4711"}
    assert known == secret_values(CONFIG)


def test_known_secrets_are_taken_out_wherever_they_stand() -> None:
    scrubber = Scrubber(["geheim", 'with"quote\\', PEM])
    quoted = json.dumps({"x": 'with"quote\\'})
    text = f"a geheim b {quoted} hkiG9w0BAQEFAASC wss://me:pw@host"
    assert scrubber.scrub(text) == (
        f'a {HIDDEN} b {{"x": "{HIDDEN}"}} {HIDDEN} wss://{HIDDEN}@host'
    )


@pytest.mark.parametrize("tail", ["", "-----END RSA PRIVATE KEY-----\nrest"])
def test_a_private_key_is_taken_out_though_nobody_configured_it(tail: str) -> None:
    text = f"before -----BEGIN RSA PRIVATE KEY-----\nabcd\nefgh\n{tail}"
    assert Scrubber([]).scrub(text) == f"before {HIDDEN}" + ("\nrest" if tail else "")


def test_the_longest_secret_goes_first_and_short_words_stay() -> None:
    assert Scrubber(["abcd", "abcdef", "on"]).scrub("abcdef on") == f"{HIDDEN} on"


def test_a_secret_is_found_in_every_spelling() -> None:
    secret = "schlüssel/&wörter"
    text = f"{secret} {json.dumps(secret)} schl%C3%BCssel%2F%26w%C3%B6rter"
    assert Scrubber([secret]).scrub(text) == f'{HIDDEN} "{HIDDEN}" {HIDDEN}'
