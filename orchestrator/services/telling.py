"""Telling: which publication an instance is answered with when it joins or renews."""

from __future__ import annotations

from orchestrator.domain import telling
from orchestrator.domain.admission import Stance, Standing, stance
from orchestrator.domain.telling import Hearer
from orchestrator.domain.waves import canaries
from orchestrator.ports import Transaction
from orchestrator.services.context import Context

DRAW_SECONDS = 5.0
"""How long a draw of canaries is good for: a fleet's renewals do not each read the whole fleet."""


class Telling:
    """Remembers the last draw of canaries of each fleet; losing it changes nothing."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._drawn: dict[tuple[str, str], tuple[int, float, frozenset[str]]] = {}

    def stance(self, tx: Transaction, standing: Standing, hearer: Hearer, instance_id: str = "") -> Stance:
        """What an admitted instance follows now; a newcomer has no `instance_id` yet, and is no canary."""
        upgrade = standing.upgrade
        if upgrade is None or upgrade.telling is None or hearer.told >= upgrade.publication:
            return stance(standing, hearer.release)  # whoever was told it once: nothing has to be read
        waves = self._context.policy(standing.schema).waves
        if instance_id and telling.asks_for_canaries(upgrade, waves, hearer):
            is_canary = instance_id in self._draw(tx, standing.schema, hearer.fleet, upgrade.publication)
            hearer = Hearer(hearer.fleet, hearer.release, hearer.told, is_canary)
        held = telling.held_fleets(upgrade, tx.fleet_pauses(standing.schema))
        return telling.stance_of(standing, waves, held, hearer)

    def _draw(self, tx: Transaction, schema: str, fleet: str, publication: int) -> frozenset[str]:
        canary = self._context.policy(schema).waves.canary
        if canary is None:
            return frozenset()
        known = self._drawn.get((schema, fleet))
        if known is None or known[0] != publication or not 0 <= tx.now - known[1] < DRAW_SECONDS:
            members = tx.possibly_alive(schema, fleet=fleet)
            known = publication, tx.now, canaries(canary, publication, members)
            self._drawn[schema, fleet] = known
        return known[2]
