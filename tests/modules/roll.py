"""The echo module with folds that can be read: an error aggregate names all statuses in it."""

from __future__ import annotations

import json

from tests.modules.echo import EchoModule


class RollModule(EchoModule):
    """A status is a JSON object with a number `n`; an error aggregate is the list of them."""

    name = "roll"

    def aggregate_error(self, error: bytes, status: bytes, device_type: int) -> bytes:
        numbers = json.loads(error) if error else []
        return json.dumps([*numbers, json.loads(status)["n"]]).encode()
