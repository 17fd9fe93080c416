"""Vouching: what a person must say before their word overrides what the program knows."""

from __future__ import annotations

from orchestrator.domain.errors import Invalid


def check_reason(reason: str) -> None:
    """Raise `Invalid` (code `reason_required`) without a reason."""
    if not reason.strip():
        raise Invalid("reason_required", "this needs a reason", remedy="Say why, for whoever reads the audit log.")


def check_attested(who: str, *, attested_dead: bool, reason: str) -> None:
    """Raise `Invalid` unless somebody vouches, with a reason, that the process of `who` is gone.

    Expiry alone proves nothing.
    """
    if not attested_dead:
        raise Invalid(
            "attestation_required",
            f"{who} is only counted out when somebody vouches that its process is gone",
            remedy="Make sure that it is stopped, then repeat with --attest-dead (attest_dead: true).",
        )
    check_reason(reason)


def check_gone(database: str, *, attested_gone: bool, reason: str) -> None:
    """Raise `Invalid` unless somebody vouches, with a reason, that nothing will ever use that database again.

    That it is not configured any more proves nothing.
    """
    if not attested_gone:
        raise Invalid(
            "attestation_required",
            f"database {database} is only counted out when somebody vouches that it is gone for good",
            remedy="Make sure that no service uses it, then repeat with --attest-gone (attest_gone: true).",
        )
    check_reason(reason)


def check_done(migration: str, *, attested_done: bool, reason: str) -> None:
    """Raise `Invalid` unless somebody vouches, with a reason, that the rows are as that data migration leaves them."""
    if not attested_done:
        raise Invalid(
            "attestation_required",
            f"data migration {migration} only counts as done when somebody vouches that its rows are as it leaves them",
            remedy="Make sure that they are, then repeat with --attest-done (attest_done: true).",
        )
    check_reason(reason)
