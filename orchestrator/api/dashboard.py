"""The status page: one line per schema, its ladder, blockers with remedies, databases, progress. Live, and plain."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.api import schemas
from orchestrator.api.auth import Role, require
from orchestrator.api.data_migrations import DataMigrationView, EtaView
from orchestrator.api.databases import DatabaseView
from orchestrator.api.exchange import HTML, Answer, Asked, Nothing, Question
from orchestrator.api.markup import Markup, joined, page, tag
from orchestrator.api.schemas import SchemaView
from orchestrator.api.upgrades import BlockerView, UpgradeView
from orchestrator.domain.errors import OrchestratorError
from orchestrator.domain.pacing import known_total

MOST_CULPRITS = 12
REFRESH_SECONDS = 5

# The page's content is always made here; the script only fetches it anew. The token stays in this tab.
SCRIPT = """
const content = document.getElementById("content"), live = document.getElementById("live");
const form = document.getElementById("ask");
let token = sessionStorage.getItem("token"), shown = null, since = null;
async function look() {
  try {
    const headers = token ? { Authorization: "Bearer " + token } : {};
    const answer = await fetch("/?fragment=true", { headers, cache: "no-store" });
    if (answer.status === 401) {
      form.hidden = false; live.textContent = token ? "this token is not known" : ""; return;
    }
    if (!answer.ok) throw new Error("status " + answer.status);
    const text = await answer.text();
    if (text !== shown) { content.innerHTML = text; shown = text; }
    form.hidden = true; since = null; live.textContent = "live";
  } catch (error) {
    since = since || new Date().toLocaleTimeString();
    live.textContent = "no answer since " + since + ", trying again";
  }
}
form.addEventListener("submit", (event) => {
  event.preventDefault();
  token = form.elements.token.value; sessionStorage.setItem("token", token); look();
});
async function keepLooking() { if (!document.hidden) await look(); setTimeout(keepLooking, 2000); }
keepLooking();
"""


class StatusQuestion(Question, frozen=True, kw_only=True):
    """`fragment` asks for the changing part of the page alone."""

    fragment: bool = False


def show(asked: Asked[StatusQuestion, Nothing]) -> Answer:
    """The page. Without a token, where tokens are asked for, it holds nothing but a field for one."""
    if asked.query.fragment:
        require(asked.actor, Role.READER)
        return Answer(_content(asked).encode(), media_type=HTML)
    content = (
        _content(asked)
        if asked.actor is not None
        else tag("noscript", tag("p", "Send the header ", tag("code", "Authorization: Bearer TOKEN"), "."))
    )
    return page(
        "orchestrator",
        tag("h1", "orchestrator ", tag("small", "", id="live", class_="dim", role="status")),
        tag(
            "form",
            tag("label", "Token ", tag("input", type="password", name="token", autocomplete="off")),
            " ",
            tag("button", "Show"),
            id="ask",
            hidden="",
        ),
        tag("main", content, id="content"),
        tag("p", tag("a", "API", href="/docs"), class_="dim"),
        script=SCRIPT,
        refresh_seconds=REFRESH_SECONDS if asked.actor is not None else None,
    )


def _content(asked: Asked[StatusQuestion, Nothing]) -> Markup:
    try:
        views = schemas.views(asked.services)
    except OrchestratorError as error:
        return joined(tag("p", error.message, class_="bad"), tag("p", error.remedy))
    if not views:
        return tag("p", "No schema is configured: name one in [orchestrator] schemas.")
    return joined(*(tag("section", *_schema(view)) for view in views))


def _schema(view: SchemaView) -> Iterable[Markup]:
    upgrade = view.upgrade
    yield tag("h2", view.schema)
    if upgrade.status == "none":
        yield tag("p", upgrade.sentence)
        return
    way = f"{upgrade.from_release} > {upgrade.to_release}"
    where = f"{upgrade.phase} > {upgrade.next}" if upgrade.next is not None else f"{upgrade.phase}"
    colour = "good" if upgrade.status == "completed" else "wait" if upgrade.blockers else None
    yield tag("p", tag("strong", f"{way}  {where}  "), tag("span", upgrade.sentence, class_=colour))
    yield tag("ol", *(_rung(each.phase, each.state, each.why) for each in upgrade.ladder), class_="ladder")
    if upgrade.blockers:
        yield tag("ul", *(tag("li", *_blocker(blocker)) for blocker in upgrade.blockers), class_="blockers")
    yield from _progress(upgrade)
    for note in upgrade.notes:
        yield tag("p", note, class_="dim")
    if upgrade.data_migrations:
        yield _table(
            "data migrations",
            ("name", "database", "state", "moved", "verified", "progress", ""),
            (_migration(each) for each in upgrade.data_migrations),
        )
    yield _table("databases", ("name", "copy", "step", ""), (_database(database) for database in upgrade.databases))


def _rung(phase: str, state: str, why: str) -> Markup:
    return tag("li", phase, class_=state, title=why, aria_current="step" if state == "current" else None)


def _blocker(blocker: BlockerView) -> Iterable[Markup]:
    yield tag("span", blocker.sentence, class_="wait")
    if blocker.culprits:
        named = ", ".join(blocker.culprits[:MOST_CULPRITS])
        more = len(blocker.culprits) - MOST_CULPRITS
        yield tag("p", named + (f" and {more} more" if more > 0 else ""), class_="dim")
    yield tag("p", blocker.remedy)


def _progress(upgrade: UpgradeView) -> Iterable[Markup]:
    if upgrade.progress is not None:
        yield tag("p", *_bar(upgrade.progress, upgrade.rows_per_second, upgrade.eta))


def _bar(share: float, rows_per_second: float | None, eta: EtaView | None) -> Iterable[str]:
    yield tag("progress", f"{share:.0%}", value=f"{share:.4f}", max="1")
    yield f" {share:.0%}"
    if rows_per_second is not None:
        yield f", {rows_per_second:,.0f} rows/s"
    if eta is not None and eta.seconds is not None:
        yield f", about {_duration(eta.seconds)} left"
    elif eta is not None and eta.state != "complete":
        yield ", far away" if eta.state == "estimated" else f", {eta.state}"


def _migration(view: DataMigrationView) -> Iterable[str]:
    trouble = view.error or (f"{view.differences:,} differences" if view.differences else "")
    wanted = "" if view.intention is None else f" ({view.intention.wish} by {view.intention.by})"
    yield from (view.name, view.database, f"{view.state}{wanted}")
    for done in (view.rows_done, view.rows_verified):
        total = known_total(view.rows_total, done)
        yield f"{done:,}" if total is None else f"{done:,} of {total:,}"
    is_running = view.progress is not None and view.state in ("running", "verifying")
    yield joined(*_bar(view.progress or 0.0, view.rows_per_second, view.eta)) if is_running else ""
    yield tag("span", trouble, class_="bad")


def _database(view: DatabaseView) -> Iterable[str]:
    step = "" if view.step is None else f"{view.step.state}, attempt {view.step.attempts}"
    error = view.error or (view.step.error if view.step is not None else None) or ""
    remedy = view.remedy or (view.step.remedy if view.step is not None else None) or ""
    yield from (view.database, "" if view.copy_revision is None else f"{view.phase} ({view.copy_revision})", step)
    yield joined(tag("span", error, class_="bad"), " ", remedy) if error else ""


def _table(caption: str, head: tuple[str, ...], rows: Iterable[Iterable[str]]) -> Markup:
    return tag(
        "table",
        tag("caption", caption),
        tag("thead", tag("tr", *(tag("th", name, scope="col") for name in head))),
        tag("tbody", *(tag("tr", *(tag("td", cell) for cell in row)) for row in rows)),
    )


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
