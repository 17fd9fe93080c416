"""The sample file shows every option as the program knows it."""

import io
from pathlib import Path

import pytest
from oslo_config import cfg, generator

from orchestrator import resources
from orchestrator.conf import load, options

REGENERATE = "oslo-config-generator --config-file etc/orchestrator/config-generator.conf"


def generated() -> str:
    conf = cfg.ConfigOpts()
    generator.register_cli_opts(conf)
    directory = resources.sample_configuration().parent
    conf(args=["--config-file", str(directory / "config-generator.conf")], default_config_files=[])
    written = io.StringIO()
    generator.generate(conf, output_file=written)
    return written.getvalue()


def sections(text: str) -> dict[str, str]:
    """The text of each section; that of [DEFAULT] is oslo.log's and may differ between its versions."""
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith("["):
            name = line
        found[name] = found.get(name, "") + line.rstrip() + "\n"
    return {name: content.rstrip() for name, content in found.items() if name != "[DEFAULT]"}


def test_the_sample_is_fresh() -> None:
    sample = resources.sample_configuration().read_text()
    assert sections(sample) == sections(generated()), f"generate it again: {REGENERATE}"


def test_the_sample_shows_every_section() -> None:
    sample = resources.sample_configuration().read_text()
    for group, opts in options.list_opts():
        assert f"[{group.name}]" in sample
        for opt in opts:
            assert f"#{opt.name} = " in sample, f"generate it again: {REGENERATE}"


def test_the_sample_can_be_edited_into_a_configuration(tmp_path: Path) -> None:
    (tmp_path / "migrations").mkdir()
    sample = resources.sample_configuration().read_text()
    sample = sample.replace("#schemas = inventory", "schemas = mine")
    file = tmp_path / "orchestrator.conf"
    file.write_text(sample + "\n[schema:mine]\nmigrations = migrations\nconnection = sqlite:////x\n")
    assert [schema.name for schema in load([file]).schemas] == ["mine"]


def test_the_documented_example_is_one_that_loads(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
    example = page.split("```ini\n")[1].split("```")[0].replace("/etc/orchestrator", str(tmp_path))
    for directory in ("inventory/migrations", "nova_cell/migrations", "keystone"):
        (tmp_path / directory).mkdir(parents=True)
    (tmp_path / "tokens").touch()
    file = tmp_path / "orchestrator.conf"
    file.write_text(example)
    settings = load([file])
    assert [schema.name for schema in settings.schemas] == ["inventory", "nova_cell", "keystone"]
    assert [len(schema.databases) for schema in settings.schemas] == [1, 2, 1]
    assert settings.schemas[2].command_prefix == ("docker", "exec", "keystone")


def test_every_option_says_what_it_is_for() -> None:
    for group, opts in options.list_opts():
        for opt in opts:
            assert opt.help, f"[{group.name}] {opt.name}"


@pytest.mark.parametrize("name", ["connection", "environment"])
def test_what_holds_passwords_is_secret(name: str) -> None:
    for _, opts in options.list_opts():
        for opt in opts:
            assert opt.name != name or opt.secret
