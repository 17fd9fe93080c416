"""The orchestrator's tables in a managed database, as far as a service reads and writes them."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Double, String, Text, column, table

copies = table(
    "orchestrator_copies",
    column("schema_name", String),
    column("incarnation", String),
    column("admits", Text),
    column("ttl_seconds", Double),
    column("renew_seconds", Double),
    column("joins", BigInteger),
)

instances = table(
    "orchestrator_instances",
    column("schema_name", String),
    column("fleet", String),
    column("instance_id", String),
    column("tag", String),
    column("nonce", String),
    column("release", String),
    column("host", String),
    column("state", String),
    column("sessions", String),
    column("news", Boolean),
    column("acked", BigInteger),
    column("joined_at", Double),
    column("renewed_at", Double),
    column("expires_at", Double),
    column("ended_at", Double),
)

sessions = table(
    "orchestrator_sessions",
    column("member", String),
    column("session", BigInteger),
    column("tag", String),
    column("started_at", Double),
)
