"""Databases that take connections and say nothing more."""

from __future__ import annotations

import sqlalchemy as sa

from tests.daemon.daemons import until
from tests.faults.proxy import Proxy
from tests.recovery.entries import Entry, mends
from tests.recovery.place import Place


@mends("A database is frozen")
def test_frozen_database(server_place: Place, entry: Entry) -> None:
    place = server_place
    url = sa.make_url(place.site.databases["main"])
    with Proxy.before(url) as proxy:
        place.site.databases["main"] = proxy.url(url)
        place.open().begin().nobody_runs()
        proxy.fall_silent()
        place.work()
        entry.assert_shown(place.status())
        proxy.accept()
        until(place.goes_on, "it is read again, as soon as it has answered")
        place.close()
