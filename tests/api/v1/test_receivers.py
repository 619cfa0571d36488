"""Receivers of reports: where they may be, and whose they are."""

from __future__ import annotations

from typing import Any

import pytest

from ringback.api.v1 import receivers
from tests.api.v1.own_world import Own
from tests.api.vendor_world import ANSWERED

URL = "https://crm.example.com/ringback"


def test_from_its_making_to_its_end(own: Own) -> None:
    made = own.good("POST", "/receivers", json={"url": URL, "events": ["task.finished"]})
    assert made["secret"].startswith("whsec_")
    plain = own.good("POST", "/receivers", json={"url": URL, "form": "single"})
    assert plain["secret"] is None
    own.task(count=1)
    own.world.run(own.world.submit())
    own.world.run(own.world.dial(ANSWERED))
    first, second = own.good("GET", "/receivers")["items"]
    assert (first["id"], first["events"], first["pending"]) == (made["id"], ["task.finished"], 1)
    assert (second["form"], second["pending"]) == ("single", 1)
    assert made["secret"] not in str((first, second))
    own.good("POST", f"/receivers/{made['id']}/disable")
    assert own.good("GET", "/receivers")["items"][0]["disabled"] == "asked for by a key of the account"
    own.bad(404, "POST", f"/receivers/{made['id']}/disable")
    own.good("POST", f"/receivers/{made['id']}/enable")
    assert own.good("POST", f"/receivers/{made['id']}/replay") == {"replayed": 0}
    own.good("DELETE", f"/receivers/{made['id']}")
    assert [one["id"] for one in own.good("GET", "/receivers")["items"]] == [plain["id"]]
    actions = [one["action"] for one in own.good("GET", "/audit")["items"]]
    assert actions[:3] == ["receiver.removed", "receiver.enabled", "receiver.disabled"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"url": "http://127.0.0.1/x"}, "url"),
        ({"url": "http://169.254.169.254/latest"}, "url"),
        ({"url": "http://[::1]/x"}, "url"),
        ({"url": "http://2130706433/"}, "url"),
        ({"url": "ftp://crm.example.com"}, "url"),
        ({"url": "http://me:pw@crm.example.com/"}, "url"),
        ({"url": URL, "form": "sms"}, "form"),
        ({"url": URL, "form": "xml"}, "form"),
        ({"url": URL, "form": "single", "events": ["call.ended"]}, "events"),
        ({"url": URL, "events": ["sms"]}, "events"),
        ({"url": URL, "application": "nope"}, "application"),
    ],
)
def test_what_is_refused_names_the_field(own: Own, body: dict[str, Any], field: str) -> None:
    problem = own.bad(400, "POST", "/receivers", json=body)
    assert problem["errors"][0]["field"] == field
    assert own.good("GET", "/receivers")["items"] == []


def test_so_many_and_no_more(own: Own, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receivers, "MOST_RECEIVERS", 2)
    for _ in range(2):
        own.good("POST", "/receivers", json={"url": URL})
    own.bad(400, "POST", "/receivers", json={"url": URL})
    own.good("POST", "/receivers", key=own.foreign, json={"url": URL})
