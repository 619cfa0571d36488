"""The door's operations in the OpenAPI description: sign headers, the body as it is decoded, the envelope.

The door reads headers and bodies itself, because it answers faults in the vendor's form; so it also describes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from litestar.openapi.spec import (
    OpenAPIFormat,
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    Parameter,
    RequestBody,
    Schema,
)

from ringback.api.itnio.fields import INTEGERS_AS_TEXT

if TYPE_CHECKING:
    from collections.abc import Mapping

_JSON = "application/json"
_HEADERS = {
    "Api-Key": "API key of the account",
    "Timestamp": "Unix time in seconds",
    "Sign": "MD5 of API key, secret and timestamp without separator, in hex",
}
_TEXT = Schema(type=OpenAPIType.STRING)
_KEY = Parameter(name="key", param_in="path", required=True, description="what is asked for", schema=_TEXT)


def described(body: type[Any] | None, answers: Any = None, *, keyed: bool = True) -> type[Operation]:
    """The class that describes an operation: ``body`` is its request, a :class:`msgspec.Struct`, or ``None`` for a GET,
    whose path ends in a key when it is ``keyed``; ``answers`` is the type of the answer's data.
    """

    @dataclass
    class Described(Operation):
        def __post_init__(self) -> None:
            self.parameters = [*_headers(), *([_KEY] if body is None and keyed else [])]
            if body is not None:
                request = _schema_of(body)
                request.description = INTEGERS_AS_TEXT
                self.request_body = RequestBody(required=True, content={_JSON: OpenAPIMediaType(schema=request)})
            self.responses = {
                "200": OpenAPIResponse(
                    description="The result is in the body, faults too.",
                    content={_JSON: OpenAPIMediaType(schema=_envelope(answers))},
                )
            }

    return Described


def described_file(parameter: str) -> type[Operation]:
    """The class that describes an operation that answers with audio."""

    @dataclass
    class Described(Operation):
        def __post_init__(self) -> None:
            asked = Parameter(name=parameter, param_in="query", required=True, description="its id", schema=_TEXT)
            self.parameters = [*_headers(), asked]
            self.responses = {
                "200": OpenAPIResponse(
                    description="The file; or, to who may not ask, the envelope.",
                    content={
                        "audio/mpeg": OpenAPIMediaType(
                            schema=Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY)
                        ),
                        _JSON: OpenAPIMediaType(schema=_envelope(None)),
                    },
                ),
                "500": OpenAPIResponse(
                    description="There is no such file, or it cannot be read.",
                    content={"text/plain": OpenAPIMediaType(schema=_TEXT)},
                ),
            }

    return Described


def _envelope(answers: Any) -> Schema:
    nothing = Schema(type=OpenAPIType.NULL, description="when there is nothing, or on a fault")
    data = nothing if answers is None else Schema(any_of=[_schema_of(answers), nothing])
    return Schema(
        type=OpenAPIType.OBJECT,
        description="An account can be set to `code` and `msg` alone, or to `status` and `reason` alone.",
        properties={
            "code": Schema(type=OpenAPIType.INTEGER, description="0: success"),
            "msg": _TEXT,
            "status": Schema(type=OpenAPIType.STRING, description="the same as `code`, as text"),
            "reason": _TEXT,
            "data": data,
            "warning": Schema(type=OpenAPIType.STRING, description="only when there is one"),
        },
        required=["data"],
    )


def _headers() -> list[Parameter]:
    return [
        Parameter(name=name, param_in="header", required=True, description=text, schema=_TEXT)
        for name, text in _HEADERS.items()
    ]


def _schema_of(kind: Any) -> Schema:
    (top,), parts = msgspec.json.schema_components([kind], ref_template="{name}")
    return _schema(top, parts)


def _schema(node: Mapping[str, Any], parts: Mapping[str, Any]) -> Schema:
    """A JSON Schema as the framework's value, references put in place (no value refers to itself)."""
    if "$ref" in node:
        return _schema(parts[node["$ref"]], parts)
    more = node.get("additionalProperties")
    return Schema(
        type=OpenAPIType(node["type"]) if "type" in node else None,
        properties={name: _schema(of, parts) for name, of in node.get("properties", {}).items()} or None,
        required=node.get("required") or None,
        additional_properties=_schema(more, parts) if isinstance(more, dict) else None,
        items=_schema(node["items"], parts) if isinstance(node.get("items"), dict) else None,
        any_of=[_schema(one, parts) for one in node["anyOf"]] if "anyOf" in node else None,
        enum=node.get("enum"),
        minimum=node.get("minimum"),
        maximum=node.get("maximum"),
    )
