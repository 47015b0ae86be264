"""What somebody writes who hopes that it is put into a statement; and bodies to put it in.

Each sleeps, and moves a sequence: that stays moved whatever becomes of the transaction.
"""

from __future__ import annotations

from random import Random
from typing import Any

SLEEP_SECONDS = 5
CANARY = "injected"
SEQUENCE = f"CREATE SEQUENCE {CANARY}"
MOVED = f"SELECT is_called FROM {CANARY}"
_CALL = f"(SELECT nextval('{CANARY}')::text || pg_sleep({SLEEP_SECONDS})::text)"
# Each with a statement that it would be carried out in.
STATEMENTS = {
    f"' || {_CALL} || '": "SELECT '%'",
    f"' OR {_CALL} IS NULL --": "SELECT 1 WHERE 'a' = '%'",
    f"'; SELECT {_CALL}; --": "SELECT '%'",
    f"'); SELECT {_CALL}; --": "SELECT lower('%')",
    f"x' UNION SELECT {_CALL} --": "SELECT '%'",
    f"1 OR {_CALL} IS NULL": "SELECT 1 WHERE 1 = 2 AND 1 = 1 OR 1 <> %",
    f"1; SELECT {_CALL} --": "SELECT %",
    f"{_CALL}": "SELECT 1 ORDER BY %",
    f'"; SELECT {_CALL}; --': 'SELECT 1 AS "a%"',
    f"$$; SELECT {_CALL}; --": "SELECT $$%$$",
    f"1]]; SELECT {_CALL}; --": "SELECT ARRAY[[%]]",
    f"*/ ; SELECT {_CALL}; --": "SELECT 1 /* %",
}
PAYLOADS = tuple(STATEMENTS)
Json = dict[str, Any]


def body(schema: Json, document: Json, payload: str, chance: Random, depth: int = 0) -> Any:
    """What a schema of OpenAPI may pass, with the payload wherever any text may stand."""
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    if "const" in schema or "enum" in schema:
        return schema.get("const", chance.choice(schema.get("enum", [None])))
    for choice in ("anyOf", "oneOf", "allOf"):
        if choice in schema:
            return body(chance.choice(schema[choice]), document, payload, chance, depth)
    match schema.get("type"):
        case "object" if depth < 4:
            made = {
                name: body(member, document, payload, chance, depth + 1)
                for name, member in schema.get("properties", {}).items()
                if name in schema.get("required", ()) or chance.random() < 0.5
            }
            free = schema.get("additionalProperties")
            if isinstance(free, dict):
                made[payload] = body(free, document, payload, chance, depth + 1)
            return made
        case "array" if depth < 4:
            return [body(schema.get("items", {}), document, payload, chance, depth + 1)]
        case "integer" | "number":
            return schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1)
        case "boolean":
            return chance.random() < 0.5
        case "null" | "object" | "array":
            return None
        case _:
            return _text(schema, payload)


def _text(schema: Json, payload: str) -> str:
    match schema.get("format"):
        case "date-time":
            return "2027-01-15T00:00:00Z"
        case "date":
            return "2027-01-15"
        case "email":
            return "somebody@example.com"
    return payload
