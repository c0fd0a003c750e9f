"""The small world that the generated pairs speak of: tables with their columns, and ways to say things."""

from typing import Final

TABLES: Final[dict[str, tuple[str, ...]]] = {
    "orders": ("number", "total", "status", "customer"),
    "flights": ("origin", "target", "gate", "carrier"),
    "members": ("name", "email", "city", "level"),
    "parts": ("code", "weight", "price", "supplier"),
    "tickets": ("title", "owner", "status", "priority"),
    "songs": ("title", "artist", "genre", "length"),
    "sensors": ("place", "unit", "reading", "battery"),
    "loans": ("number", "amount", "rate", "customer"),
    "hotels": ("name", "city", "stars", "price"),
    "patients": ("name", "ward", "doctor", "age"),
}
FETCH_VERBS: Final = ("fetch", "look up", "read", "select", "find")
CONNECTIONS: Final = ("db", "conn", "session", "store")
FUNCTION_VERBS: Final = ("get", "load", "read")
ONE_WORDS: Final = ("the first match", "one record", "a single row")
ALL_WORDS: Final = ("every match", "all records", "the full list")
MISSING_WORDS: Final = ("missing", "unknown", "absent")
