"""Unknown names: sections and options that nobody reads, and what was probably meant."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from oslo_config import cfg

from orchestrator.conf import inventory as inventory_section
from orchestrator.conf import schema as schema_section
from orchestrator.conf import schema_database as schema_database_section
from orchestrator.conf import window as window_section
from orchestrator.conf.nearest import meant, nearest
from orchestrator.conf.sources import Assignment, Section
from orchestrator.domain.errors import ConfigurationError

Known = Mapping[str, Sequence[cfg.Opt]]


def unknown_section(section: Section, known: Known, written: Collection[str]) -> ConfigurationError:
    """A section that nobody reads. `written` are all that stand in the files."""
    name = section.name
    if name.startswith(schema_section.PREFIX):
        schema = name.removeprefix(schema_section.PREFIX)
        near = nearest(name, [each for each in known if each.startswith(schema_section.PREFIX)])
        remedy = f"Did you mean [{near}]? " if near else ""
        remedy += f"Or add {schema} to [orchestrator] schemas."
    elif name.startswith(schema_database_section.PREFIX):
        near = nearest(name, [each for each in known if each.startswith(schema_database_section.PREFIX)])
        schema, _, database = name.removeprefix(schema_database_section.PREFIX).partition(":")
        owner = schema_section.group(schema).name
        has_list = any(each.startswith(schema_database_section.group(schema, "").name) for each in known)
        if has_list and database and (near is None or near in written):
            remedy = f"{database} is not in [{owner}] databases any more, or not yet. "
            remedy += "Name it there, or remove this section."
        else:
            remedy = f"Did you mean [{near}]? " if near else ""
            remedy += "It is named [database:SCHEMA:DATABASE], DATABASE being one of [schema:SCHEMA] databases."
    elif name.startswith(inventory_section.PREFIX):
        remedy = "It is named [inventory:SCHEMA:FLEET], SCHEMA being one of [orchestrator] schemas."
    elif name.startswith(window_section.PREFIX):
        schema, _ = window_section.parts(name)
        schemas = [each.removeprefix(schema_section.PREFIX) for each in known if each.startswith(schema_section.PREFIX)]
        near = nearest(schema, schemas)
        remedy = f"Did you mean schema {near}? " if near and near != schema else ""
        remedy += "It is named [window:SCHEMA:NAME], SCHEMA being one of [orchestrator] schemas."
    else:
        remedy = meant(name, known)
    return ConfigurationError(
        "section_unknown",
        f"{section.place}: there is no section [{name}]",
        remedy=remedy,
        file=str(section.place.file),
        line=section.place.line,
        section=name,
    )


def unknown_option(written: Assignment, known: Known) -> ConfigurationError:
    """An option that its section does not have."""
    options = [opt.dest for opt in known[written.section]]
    near = nearest(written.option, options)
    elsewhere = [name for name, opts in known.items() if any(written.option == opt.name for opt in opts)]
    if elsewhere and near is None:
        remedy = f"It belongs in {' or '.join(f'[{name}]' for name in elsewhere)}."
    else:
        remedy = meant(written.option, options)
    return ConfigurationError(
        "option_unknown",
        f"{written.place}: [{written.section}] has no option {written.option}",
        remedy=remedy,
        file=str(written.place.file),
        line=written.place.line,
        section=written.section,
        option=written.option,
    )
