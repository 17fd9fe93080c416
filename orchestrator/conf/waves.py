"""The waves of [policy] and [schema:NAME], as values."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from orchestrator.conf.reading import SectionReader
from orchestrator.domain.errors import Invalid
from orchestrator.domain.waves import Canary, Waves, parse_canary, parse_order

T = TypeVar("T")


def waves_of(schema: SectionReader, site: SectionReader) -> Waves:
    """What the schema says, or else the site. Raises `ConfigurationError` with the place of what cannot be used."""
    order = _read("waves", parse_order, schema, site)
    canary: Canary | None = _read("canary", parse_canary, schema, site)
    soak = schema.value("wave_soak_seconds")
    return Waves(order or (), canary, site.value("wave_soak_seconds") if soak is None else soak)


def _read(option: str, parse: Callable[[str], T], *sections: SectionReader) -> T | None:
    """The option of the first section that has it, or None."""
    for section in sections:
        text = section.value(option)
        if text is not None:
            try:
                return parse(text)
            except Invalid as error:
                section.refuse(option, "option_value_invalid", error.message, remedy=error.remedy)
    return None
