"""The sizes of batches in [data_migrations] and [schema:NAME], as values."""

from __future__ import annotations

from orchestrator.conf.reading import SectionReader
from orchestrator.domain.pacing import BatchSizes


def batches_of(schema: SectionReader, site: SectionReader) -> BatchSizes:
    """What the schema says, or else the site. Raises `ConfigurationError` with the place of what cannot be used."""
    most = _first("batch_rows", schema, site).value("batch_rows")
    least_in = _first("min_batch_rows", schema, site)
    least = least_in.value("min_batch_rows")
    if least > most:
        if least_in.is_given("min_batch_rows"):
            least_in.refuse(
                "min_batch_rows",
                "option_value_invalid",
                f"a batch has at most {most} rows (batch_rows)",
                remedy=f"Give {most} or fewer, or a larger batch_rows.",
            )
        least = most
    seconds, most_bytes = (_first(name, schema, site).value(name) for name in ("batch_seconds", "batch_bytes"))
    return BatchSizes(least, most, seconds, most_bytes)


def _first(option: str, *sections: SectionReader) -> SectionReader:
    """The first section that has a value for the option, the last one at any rate."""
    return next((section for section in sections if section.value(option) is not None), sections[-1])
