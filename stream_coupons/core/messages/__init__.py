"""The messages of every topic, as types.

Each is a `msgspec.Struct`: the JSON on the wire, the validation and the JSON Schema in `schemas/`
all come from it.
Evolution is additive: new fields get a default, unknown fields are ignored, `schema_version` stays.
Anything may be missing from an event but its ids and its time.
"""
