"""A client of the vendor's API written from the published rules only: nothing of Ringback is imported."""

from __future__ import annotations

import hashlib
import json
import time
import urllib.request
from typing import Any


class Vendor:
    """Signs and sends."""

    def __init__(self, base_url: str, key: str, secret: str) -> None:
        self._base_url = base_url
        self._key = key
        self._secret = secret

    def post(self, path: str, body: object) -> dict[str, Any]:
        """The answer of a POST."""
        return self._send(path, json.dumps(body).encode())

    def get(self, path: str) -> dict[str, Any]:
        """The answer of a GET."""
        return self._send(path, None)

    def fetch(self, path: str) -> bytes:
        """What a GET downloads."""
        return self._exchange(path, None)

    def _send(self, path: str, body: bytes | None) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self._exchange(path, body))
        return answer

    def _exchange(self, path: str, body: bytes | None) -> bytes:
        stamp = str(int(time.time()))
        headers = {
            "Content-Type": "application/json;charset=UTF-8",
            "Api-Key": self._key,
            "Timestamp": stamp,
            "Sign": hashlib.md5((self._key + self._secret + stamp).encode()).hexdigest(),
        }
        request = urllib.request.Request(self._base_url + path, data=body, headers=headers)
        with urllib.request.urlopen(request, timeout=60) as response:
            found: bytes = response.read()
        return found

    def flow_of(self, task_id: int) -> int:
        """The key of the task's recall flow."""
        page = self.post(
            "/voice/recallFlow/queryPage",
            {
                "current": 1,
                "size": 10,
                "params": {
                    "strTime": "2020-01-01 00:00:00",
                    "endTime": "2099-01-01 00:00:00",
                    "taskName": str(task_id),
                },
            },
        )
        (record,) = [record for record in page["data"]["records"] if record["taskId"] == task_id]
        return int(record["keyId"])
