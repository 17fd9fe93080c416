"""Functions of a service that do not do what they are called for."""

from __future__ import annotations

import sys
from contextlib import suppress

from orchestrator.domain.errors import Unavailable
from tests.recovery.entries import Entry, mends
from tests.recovery.place import Place
from tests.recovery.shops import Shop

FUNCTION = """
from orchestrator.data_migrations import DataMigration

class Cells(DataMigration):
    function = "shop_cells:migrate"
    setup = "import sys; sys.dont_write_bytecode = True; sys.path.insert(0, {directory!r})"
    interpreter = {interpreter!r}
"""


@mends("A function of the service does not do its rows")
def test_function_without_progress(place: Place, entry: Entry) -> None:
    shop = Shop(place)
    manifest = shop.directory / "releases.toml"
    manifest.write_text(manifest.read_text() + 'data_migrations = ["cells"]\n')
    (shop.directory / "data").mkdir()
    (shop.directory / "data" / "cells.py").write_text(
        FUNCTION.format(directory=str(shop.directory), interpreter=sys.executable)
    )
    code = shop.directory / "shop_cells.py"
    code.write_text("def migrate(context, max_count):\n    return 5, 0\n")
    place.open()
    shop.begin()
    shop.moves("expand", "e2", "c1", check="exit 4")
    while not entry.is_shown(place.status()):
        with suppress(Unavailable):  # which a daemon's job notes, and comes again
            place.work()
    assert place.phase() == "backfill"
    code.write_text("def migrate(context, max_count):\n    return 0, 0\n")
    place.type(entry)
    assert place.goes_on()
