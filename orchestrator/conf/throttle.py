"""[throttle:SCHEMA:NAME]: a query or an HTTP check of the operator's, for which rows wait."""

from __future__ import annotations

import math
from collections.abc import Sequence

from oslo_config import cfg

from orchestrator.conf.reading import SectionReader
from orchestrator.conf.schema_database import chosen
from orchestrator.conf.settings import DatabaseSettings, ThrottleSettings
from orchestrator.inventory_sources.sql_query import refusal as query_refusal
from orchestrator.throttles.http_check import refusal as url_refusal

PREFIX = "throttle:"

OPTIONS: tuple[cfg.Opt, ...] = (
    cfg.StrOpt(
        "query",
        sample_default="SELECT count(*) FROM jobs WHERE state = 'waiting'",
        help="One SELECT that returns one value: a number, which is compared with max, or without max whether rows may "
        "be moved. It may stand on several lines, each but the first indented. A dollar sign is written $$.",
    ),
    cfg.FloatOpt("max", sample_default=1000.0, help="With query: rows are moved while its number is not above this."),
    cfg.StrOpt(
        "url",
        secret=True,
        sample_default="http://127.0.0.1:8080/may-rows-move",
        help="Instead of a query: rows are moved while GET of this address answers 200. Redirects are not followed.",
    ),
    cfg.ListOpt(
        "databases",
        default=[],
        sample_default=["cell01"],
        help="For which databases of the schema it is asked, a query in each of them; for all without a value.",
    ),
)


def group(schema: str, name: str) -> cfg.OptGroup:
    """The section of that throttle of that schema."""
    return cfg.OptGroup(
        f"{PREFIX}{schema}:{name}",
        help="[throttle:NAME:THROTTLE]: a query or an HTTP check that the data migrations of schema NAME wait for. How "
        "often and how long it is asked: [throttling].",
    )


def parts(section: str) -> tuple[str, str]:
    """Schema and throttle that the name of a section names."""
    schema, _, name = section.removeprefix(PREFIX).partition(":")
    return schema, name


def read(section: SectionReader, name: str, databases: Sequence[DatabaseSettings]) -> ThrottleSettings:
    """The section as settings. Raises `ConfigurationError` for what cannot be asked."""
    query, url = section.value("query"), section.value("url")
    names, first = chosen(section, databases)
    if query is None and url is None:
        section.missing("query", also=" or `url = ...`")
    if query is not None and url is not None:
        section.refuse(
            "url", "option_ambiguous", "the section has a query too", remedy="Give each of them a section of its own."
        )
    if url is not None:
        why = url_refusal(url)
        if why is not None:
            section.refuse("url", "option_value_invalid", why, remedy="Give the address of an HTTP check.")
        if section.value("max") is not None:
            section.refuse("max", "option_without_effect", "it means nothing with url", remedy="Remove it.")
        return ThrottleSettings(name, url=url, databases=names)
    why = query_refusal(query, first.connection)
    if why is not None:
        section.refuse("query", "query_unusable", why, remedy="Give one SELECT that returns one value.")
    limit = section.value("max")
    if limit is not None and not math.isfinite(limit):
        section.refuse("max", "option_value_invalid", "it is no finite number", remedy="Give a number.")
    return ThrottleSettings(name, query=query.strip(), limit=limit, databases=names)
