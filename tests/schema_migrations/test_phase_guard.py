"""The phase guard: expand may add or loosen, contract may remove or tighten; each refusal names line and remedy."""

import pytest

from orchestrator.domain.errors import MigrationRefused
from tests.schema_migrations.trees import TreeWriter

TABLES = """
op.create_table(
    "customers",
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(50)),
    sa.Column("email", sa.String(50), nullable=False),
)
op.create_table("orders", sa.Column("id", sa.Integer, primary_key=True), sa.Column("customer", sa.Integer))
"""


def two_releases(tree: TreeWriter, stage: str, body: str, *, head: str = "", more: str = "") -> None:
    """Release 2 has one revision, in that stage."""
    tree.revision("expand", "e1", TABLES)
    after = "e1" if stage == "expand" else None
    tree.revision(stage, "new", body, after=after, head=head)
    tree.manifest(
        f"""
        [[release]]
        name = "1"
        expand = "e1"

        [[release]]
        name = "2"
        {stage} = "new"
        {more}
        """
    )


def add_column(arguments: str) -> str:
    return f'op.add_column("customers", sa.Column("c", {arguments}))'


def alter(arguments: str) -> str:
    return f'op.alter_column("customers", "name", {arguments})'


BATCH_ALTER = 'with op.batch_alter_table("customers") as batch:\n    batch.alter_column("name", nullable={})'

EXPAND_ALLOWS = [
    'op.create_table("t", sa.Column("id", sa.Integer, primary_key=True))',
    add_column("sa.Integer"),
    add_column("sa.Integer, nullable=False, server_default='0'"),
    add_column("sa.DateTime, nullable=False, server_default=sa.func.now()"),
    add_column("sa.DateTime, server_default=sa.text('CURRENT_TIMESTAMP')"),
    add_column("sa.Integer, sa.ForeignKey('orders.id')"),
    alter("nullable=True"),
    BATCH_ALTER.format("True"),
    alter("server_default='x'"),
    alter("type_=sa.String(80), existing_type=sa.String(50)"),
    alter("type_=sa.Text, existing_type=sa.String(50)"),
    alter("type_=sa.Numeric(12, 2), existing_type=sa.Numeric(10, 2)"),
    alter("nullable=False, existing_nullable=False"),
    alter("comment='hello'"),
    'op.create_index("i", "customers", ["name"])',
    'op.drop_constraint("uq", "customers", type_="unique")',
    'op.create_table_comment("customers", "people")',
    'op.execute("ALTER TABLE customers ADD COLUMN c int")',
    'op.execute("CREATE INDEX CONCURRENTLY i ON customers (name)")',
    'op.execute("SELECT 1")',
    'sa.Table("t", sa.MetaData(), sa.Column("id", sa.Integer)).create(op.get_bind())',
    # What the release itself brings may be changed at will: the old release does not know it.
    't = op.create_table("t", sa.Column("id", sa.Integer))\nop.bulk_insert(t, [{"id": 1}])\n'
    'op.create_index("i", "t", ["id"], unique=True)\nop.alter_column("t", "id", nullable=False)',
    add_column("sa.Integer") + '\nop.create_unique_constraint("u", "customers", ["c"])\n'
    'op.create_foreign_key("f", "customers", "orders", ["c"], ["id"])\nop.drop_column("customers", "c")',
]

EXPAND_REFUSES = [
    'op.drop_table("orders")',
    'op.drop_column("customers", "name")',
    'with op.batch_alter_table("customers") as batch:\n    batch.drop_column("name")',
    'op.rename_table("orders", "o")',
    alter("new_column_name='full_name'"),
    add_column("sa.Integer, nullable=False"),
    add_column("sa.Integer, primary_key=True"),
    alter("nullable=False"),
    BATCH_ALTER.format("False"),
    alter("server_default=None"),
    alter("type_=sa.Integer, existing_type=sa.String(50)"),
    alter("type_=sa.String(10), existing_type=sa.String(50)"),
    alter("type_=sa.String(80)"),
    alter("type_=sa.BigInteger, existing_type=sa.Integer"),
    'op.create_unique_constraint("u", "customers", ["name"])',
    'op.create_check_constraint("k", "customers", "id > 0")',
    'op.create_foreign_key("f", "orders", "customers", ["customer"], ["id"])',
    'op.create_primary_key("p", "orders", ["id"])',
    'op.create_index("i", "customers", ["name"], unique=True)',
    'op.drop_constraint("customers_pkey", "customers", type_="primary")',
    'op.execute("ALTER TABLE customers DROP COLUMN name")',
    'op.execute("ALTER TABLE customers ALTER COLUMN name SET NOT NULL")',
    'op.execute("ALTER TABLE customers RENAME COLUMN name TO n")',
    'op.execute("SELECT 1; DROP TABLE orders")',
    'op.execute(sa.text("DROP TABLE orders"))',
    'op.get_bind().execute(sa.text("DROP TABLE orders"))',
    'sa.Table("orders", sa.MetaData()).drop(op.get_bind())',
]

CONTRACT_ALLOWS = [
    'op.drop_table("orders")',
    'op.drop_column("customers", "name")',
    alter("nullable=False"),
    alter("server_default=None"),
    'op.create_unique_constraint("u", "customers", ["name"])',
    'op.create_check_constraint("k", "customers", "id > 0")',
    'op.create_foreign_key("f", "orders", "customers", ["customer"], ["id"])',
    'op.create_index("i", "customers", ["name"], unique=True)',
    'op.drop_constraint("uq", "customers", type_="unique")',
    'op.drop_index("i", "customers")',
    'op.execute("DROP TABLE orders")',
]

CONTRACT_REFUSES = [
    'op.create_table("t", sa.Column("id", sa.Integer, primary_key=True))',
    add_column("sa.Integer"),
    'op.rename_table("orders", "o")',
    alter("new_column_name='full_name'"),
    alter("nullable=True"),
    alter("server_default='x'"),
    alter("type_=sa.String(80), existing_type=sa.String(50)"),
    'op.execute("ALTER TABLE customers ADD COLUMN c int")',
]

NEED_ACKNOWLEDGEMENT = [
    "op.execute(\"UPDATE customers SET name = 'x'\")",
    'op.execute(sa.table("customers", sa.column("name")).update().values(name="x"))',
    'op.get_bind().execute(sa.table("customers").delete())',
    'op.bulk_insert(sa.table("customers", sa.column("name")), [{"name": "x"}])',
    'op.execute("WITH gone AS (DELETE FROM orders RETURNING *) SELECT * FROM gone")',
    'op.execute("DO $$ BEGIN PERFORM 1; END $$")',
    "op.execute(\"SELECT setval('s', 1)\")",
    'op.execute("this is not SQL")',
    'op.execute("CREATE TRIGGER t BEFORE INSERT ON customers FOR EACH ROW EXECUTE FUNCTION f()")',
    'sa.inspect(op.get_bind()).get_columns("customers")',
    'op.get_bind().execute(sa.text("SELECT count(*) FROM customers")).scalar()',
]


@pytest.mark.parametrize("body", EXPAND_ALLOWS)
def test_expand_may_add_or_loosen(tree: TreeWriter, body: str) -> None:
    two_releases(tree, "expand", body)

    tree.driver().check("2")


@pytest.mark.parametrize("body", EXPAND_REFUSES)
def test_expand_may_not_remove_or_tighten(tree: TreeWriter, body: str) -> None:
    two_releases(tree, "expand", body, head='acknowledged = "not even so"\n')

    with pytest.raises(MigrationRefused) as refusal:
        tree.driver().check("2")

    error = refusal.value
    assert error.code == "not_in_expand"
    assert error.fields["file"] == str(tree.directory / "expand" / "new.py")
    assert error.fields["line"] in range(13, 13 + len(body.splitlines()))
    assert error.remedy


@pytest.mark.parametrize("body", CONTRACT_ALLOWS)
def test_contract_may_remove_or_tighten(tree: TreeWriter, body: str) -> None:
    two_releases(tree, "contract", body)

    tree.driver().check("2")


@pytest.mark.parametrize("body", CONTRACT_REFUSES)
def test_contract_may_not_add_or_loosen(tree: TreeWriter, body: str) -> None:
    two_releases(tree, "contract", body, head='acknowledged = "not even so"\n')

    with pytest.raises(MigrationRefused) as refusal:
        tree.driver().check("2")

    assert refusal.value.code == "not_in_contract"
    assert refusal.value.fields["file"] == str(tree.directory / "contract" / "new.py")
    assert refusal.value.remedy


@pytest.mark.parametrize("stage", ["expand", "contract"])
@pytest.mark.parametrize("body", NEED_ACKNOWLEDGEMENT)
def test_what_nobody_can_judge_needs_a_reason_in_the_file(tree: TreeWriter, stage: str, body: str) -> None:
    two_releases(tree, stage, body)

    with pytest.raises(MigrationRefused) as refusal:
        tree.driver().check("2")

    error = refusal.value
    assert error.code in ("acknowledgement_needed", "revision_not_judgeable")
    assert (error.fields["file"], error.fields["line"]) == (str(tree.directory / stage / "new.py"), 12)
    assert "acknowledged" in error.remedy

    file = tree.directory / stage / "new.py"
    file.write_text(file.read_text().replace("depends_on", 'acknowledged = "twelve rows"\ndepends_on', 1))
    tree.driver().check("2")


def test_a_refusal_names_the_line_of_the_operation(tree: TreeWriter) -> None:
    two_releases(tree, "expand", add_column("sa.Integer") + '\n\nop.drop_table("orders")')

    with pytest.raises(MigrationRefused) as refusal:
        tree.driver().check("2")

    assert refusal.value.fields["line"] == 14
    assert "drop table orders" in refusal.value.message
    assert "contract/" in refusal.value.remedy


def test_locks_that_are_held_for_long_are_a_warning(tree: TreeWriter) -> None:
    two_releases(tree, "expand", 'op.create_index("i", "customers", ["name"])')

    (warning,) = tree.driver().check("2")

    assert (warning.revision, warning.place.line) == ("new", 12)
    assert "blocks writes" in warning.sentence
    assert "concurrently" in warning.remedy


def test_an_index_built_concurrently_is_no_warning(tree: TreeWriter) -> None:
    body = """
    with op.get_context().autocommit_block():
        op.create_index("i", "customers", ["name"], postgresql_concurrently=True)
    """
    two_releases(tree, "expand", body)

    assert tree.driver().check("2") == ()


def test_an_old_column_that_would_refuse_new_rows_is_refused(tree: TreeWriter) -> None:
    two_releases(tree, "expand", add_column("sa.Integer"), more='old_shape = ["customers.email"]')

    with pytest.raises(MigrationRefused, match="NOT NULL without a default") as refusal:
        tree.driver().check("2")

    assert refusal.value.code == "old_shape_not_loosened"
    assert refusal.value.fields["file"] == str(tree.manifest_file)


def test_an_old_column_of_a_named_schema_is_judged_too(tree: TreeWriter) -> None:
    body = 'op.create_table("people", sa.Column("email", sa.String(50), nullable=False), schema="crm")'
    two_releases(tree, "expand", body, more='old_shape = ["crm.people.email"]')

    with pytest.raises(MigrationRefused, match=r"stops writing crm\.people\.email, which is NOT NULL") as refusal:
        tree.driver().check("2")

    assert refusal.value.code == "old_shape_not_loosened"


def test_an_old_column_that_was_loosened_is_no_obstacle(tree: TreeWriter) -> None:
    body = 'op.alter_column("customers", "email", nullable=True, existing_type=sa.String(50))'
    two_releases(tree, "expand", body, more='old_shape = ["customers.email"]')

    tree.driver().check("2")


@pytest.mark.parametrize("listed", ["customers.name", "customers", "crm.customers.name", "crm.customers.*"])
def test_a_drop_in_a_named_schema_that_old_shape_lists_is_no_warning(tree: TreeWriter, listed: str) -> None:
    two_releases(
        tree, "contract", 'op.drop_column("customers", "name", schema="crm")', more=f'old_shape = ["{listed}"]'
    )

    assert tree.driver().check("2") == ()


def test_a_drop_that_old_shape_does_not_list_is_a_warning(tree: TreeWriter) -> None:
    two_releases(tree, "contract", 'op.drop_column("customers", "name")', more='old_shape = ["orders"]')

    (warning,) = tree.driver().check("2")

    assert "does not list it" in warning.sentence
