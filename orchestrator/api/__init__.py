"""The HTTP API: one file per noun, one table of routes, errors as problem+json."""
