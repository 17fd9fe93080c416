"""Signing: what instances are told is signed, so that what they say of it later is believed only if it is true.

Whoever may renew a lease could claim any phase otherwise, and the state would go there.
"""

from __future__ import annotations

from dataclasses import replace

from orchestrator.domain.admission import Stance, Standing
from orchestrator.domain.errors import Conflict
from orchestrator.domain.fleets import Instance
from orchestrator.domain.losses import Follows, bears_out
from orchestrator.domain.signatures import is_signature, signature
from orchestrator.ports import Transaction
from orchestrator.services.context import event

SELF = "orchestrator"


def signature_of(tx: Transaction, schema: str, stance: Stance) -> str | None:
    """What goes with the stance to whoever is told it; None at rest, where nothing is followed."""
    if stance.upgrade_id is None:
        return None
    return signature(tx.signing_key.secret, schema, stance.upgrade_id, stance.publication, stance.phase)


def is_signed(tx: Transaction, schema: str, follows: Follows) -> bool:
    """Whether a daemon told it, by its signature; or somebody in this program vouches for it."""
    if follows.is_vouched or follows.signature is None:
        return follows.is_vouched
    secret = tx.signing_key.secret
    expected = signature(secret, schema, follows.upgrade_id, follows.publication, follows.phase)
    return is_signature(follows.signature, expected)


def is_believed(tx: Transaction, standing: Standing, follows: Follows) -> bool:
    """Whether it was told, by a daemon or by the copy in a managed database, as that was read last.

    A state that was restored to before it had a key knows no signature, and then only copies bear it out.
    """
    if is_signed(tx, standing.schema, follows):
        return True
    return bears_out([each.facts for each in tx.readings(standing.schema)], standing, follows)


def disbelieve(tx: Transaction, instance: Instance, follows: Follows) -> Conflict:
    """Put on record, once for each instance, that it is not believed. Returns its refusal; its lease stays as it is."""
    said = f"publication {follows.publication} ({follows.phase.word}) of upgrade {follows.upgrade_id}"
    if not instance.is_disbelieved and tx.save_instance(replace(instance, is_disbelieved=True)):
        event(
            tx, "instance.disbelieve",
            f"{instance.fleet} {instance.label} says that it was told {said}; nothing shows that, so it is not renewed",
            actor=SELF, schema=instance.schema, subject=f"{instance.fleet}/{instance.id}",
        )  # fmt: skip
    return Conflict(
        "told_unproven",
        f"instance {instance.id} of fleet {instance.fleet} says that it was told {said}; the state knows nothing of "
        "that, and neither a daemon's signature nor the copy in a managed database shows it",
        remedy="Ask again: a state that was restored takes over what the managed databases know. If it stays so, start "
        "the process anew: it joins, and is told what is published.",
    )
