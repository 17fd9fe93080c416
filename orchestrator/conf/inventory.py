"""[inventory:SCHEMA:FLEET]: a query that lists the instances of a fleet that hold no leases."""

from collections.abc import Sequence

from oslo_config import cfg

from orchestrator.conf.reading import SectionReader
from orchestrator.conf.schema_database import chosen
from orchestrator.conf.settings import DatabaseSettings, InventorySettings
from orchestrator.inventory_sources.sql_query import refusal

PREFIX = "inventory:"

OPTIONS: tuple[cfg.Opt, ...] = (
    cfg.StrOpt(
        "query",
        required=True,
        sample_default="SELECT host AS instance, version, ... FROM services WHERE binary = 'nova-compute'",
        help="One SELECT that lists the fleet's instances: columns instance, and release or version; age_seconds, the "
        "time since the last sign of life, and down, true where somebody said that it is gone, may come along. It may "
        "stand on several lines, each but the first indented. A dollar sign is written $$.",
    ),
    cfg.DictOpt(
        "releases",
        default={},
        sample_default="66:2026.1, 67:2026.2",
        help="Which release each value of the column release or version means. Without it values are names of "
        "releases. A value that is not named closes every move.",
    ),
    cfg.ListOpt(
        "databases",
        default=[],
        sample_default=["cell01"],
        help="In which databases of the schema it is run; in all without a value.",
    ),
    cfg.FloatOpt(
        "max_age_seconds",
        default=60.0,
        min=1.0,
        help="An instance whose last sign of life is older is named as silent. It may be alive all the same: only down "
        "takes it for gone.",
    ),
    cfg.FloatOpt("timeout_seconds", default=5.0, min=0.1, max=60.0, help="How long the query may run."),
)


def group(schema: str, fleet: str) -> cfg.OptGroup:
    """The section of that fleet of that schema."""
    return cfg.OptGroup(
        f"{PREFIX}{schema}:{fleet}",
        help="[inventory:NAME:FLEET]: who runs in a fleet of schema NAME that holds no leases, as a table of its "
        "databases says.",
    )


def parts(section: str) -> tuple[str, str]:
    """Schema and fleet that the name of a section names."""
    schema, _, fleet = section.removeprefix(PREFIX).partition(":")
    return schema, fleet


def read(section: SectionReader, fleet: str, databases: Sequence[DatabaseSettings]) -> InventorySettings:
    """The section as settings. Raises `ConfigurationError` for a query that is none, or unknown databases."""
    query = section.text("query").strip()
    names, first = chosen(section, databases)
    why = refusal(query, first.connection)
    if why is not None:
        section.refuse(
            "query",
            "query_unusable",
            why,
            remedy="Give one SELECT that returns the columns instance, and release or version.",
        )
    releases = {value.strip(): name.strip() for value, name in section.value("releases").items()}
    for value, name in releases.items():
        if not value or not name:
            section.refuse(
                "releases",
                "option_value_invalid",
                "a value, or the name of a release, is missing",
                remedy="Give pairs such as 66:2026.1.",
            )
    return InventorySettings(
        fleet=fleet,
        query=query,
        releases=tuple(releases.items()),
        databases=names,
        max_age_seconds=section.value("max_age_seconds"),
        timeout_seconds=section.value("timeout_seconds"),
    )
