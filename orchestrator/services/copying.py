"""Copying: what each managed database is told of the upgrade's state, so that it can fence and admit by itself."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.domain.admission import Standing, admitted
from orchestrator.domain.ladder import Phase
from orchestrator.domain.upgrades import Upgrade
from orchestrator.domain.view import Copy, DatabaseFacts
from orchestrator.services.context import LeaseTerms


def copy_of(standing: Standing, newest: Upgrade | None, terms: LeaseTerms) -> Copy | None:
    """The copy as it has to be now; its incarnation is filled in where it is written.

    `newest` is the schema's newest upgrade, also one that has ended: the copies are told of its end. None while the
    schema has no release: then nobody may join. None also while it is not on record that the state database is another
    one than before: what the copies say is the last that is known of what was lost.
    """
    if standing.release is None:
        return None
    if standing.upgrade is not None and standing.upgrade.is_of_another(standing.incarnation):
        return None
    if newest is None:
        copy = Copy(None, Phase.BASE, Phase.BASE, standing.last_revision, incarnation="")
    else:
        copy = Copy(
            newest.id, newest.phase, newest.fence, newest.revision, incarnation="",
            move=newest.move, reversing=newest.reversing, frozen=newest.frozen is not None,
        )  # fmt: skip
    return replace(copy, admits=admitted(standing), ttl_seconds=terms.ttl_seconds, renew_seconds=terms.renew_seconds)


def is_behind(facts: DatabaseFacts, copy: Copy) -> bool:
    """Whether the database has to be told: it knows an older state, or tells people of the same one something else.

    Not where it knows another one of that number: that shows that commits are lost.
    """
    held = facts.copy
    if held is None or held.incarnation != facts.incarnation:
        return True
    if held.revision != copy.revision:
        return held.revision < copy.revision
    if held.upgrade_id == copy.upgrade_id and held.says != copy.says:
        return False
    told = (held.admits, held.ttl_seconds, held.renew_seconds)
    return told != (copy.admits, copy.ttl_seconds, copy.renew_seconds)
