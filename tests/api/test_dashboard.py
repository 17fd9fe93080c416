"""The status page: readable without script, escaped everywhere, live with one small script."""

import re
from html.parser import HTMLParser

from orchestrator.api.auth import Role
from orchestrator.api.markup import Markup, tag
from orchestrator.domain.view import MigrationFacts, MigrationState
from tests.api.world import World, tokens_for_all_roles

NASTY = "<script>alert(1)</script>\"'&"


class _Balanced(HTMLParser):
    """Checks that elements are closed in the order in which they were opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, name: str, attributes: object) -> None:
        self.seen.append(name)
        if name not in ("meta", "input", "br", "link"):
            self.open.append(name)

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name


def elements(text: str) -> list[str]:
    parser = _Balanced()
    parser.feed(text)
    assert parser.open == []
    return parser.seen


def test_the_page_shows_where_an_upgrade_stands_without_script(world: World) -> None:
    answer = world.expanded().client().get("/")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    text = answer.text
    for words in ("inventory", "1 &gt; 2", "expanded &gt; backfill", "old-1", "Roll them to 2", "split_name", "main"):
        assert words in text, words
    assert 'class="current"' in text and 'aria-current="step"' in text
    assert '<noscript><meta http-equiv="refresh" content="5"></noscript>' in text
    assert "main" in elements(text)


def test_every_state_has_a_page(world: World) -> None:
    assert "inventory has no release yet" in world.client().get("/").text
    assert "is at release 1" in world.at_rest().client().get("/").text
    world.upgrades.begin("inventory", "2", actor="test")
    world.managed.on["main"].batch_rows = 40
    world.cycle()
    world.data_migrations.run("inventory", "main", may_go_on=iter([True, False]).__next__)
    world.cycle()
    moving = world.client().get("/").text
    assert "<progress" in moving and "measuring" in moving and "40 of 100" in moving
    world.managed.on["main"].migrations["split_name"] = MigrationFacts(
        "split_name", MigrationState.VERIFYING, rows_done=1002, rows_total=1000, rows_verified=7
    )
    world.cycle()
    moving = world.client().get("/").text
    assert "1,002 of 1,002" in moving and "7 of 1,000" in moving
    world.managed.on["main"].error = "connection refused"
    world.cycle()
    assert "connection refused" in world.client().get("/").text
    world.managed.on["main"].error = None
    world.move_rows()
    world.cycle()
    world.upgrades.approve("inventory", phase=None, actor="test", reason="yes")
    world.cycle()
    done = world.client().get("/").text
    assert "upgraded to 2" in done
    elements(done)


def test_each_data_migration_has_a_bar_while_it_runs(world: World) -> None:
    for database in world.managed.on.values():
        database.rows, database.batch_rows = 1000, 100
    world.begun().cycle()
    assert world.client().get("/").text.count("<progress") == 1, "only that of the whole"
    begun = world.board.schema("inventory").upgrade
    assert begun is not None
    for _ in range(7):
        world.clock.advance(1)
        world.managed.run_batch("main", "split_name", begun.upgrade.id, leads=True)
        world.cycle()
    text = world.client().get("/").text
    assert text.count("35%</progress> 35%, 100 rows/s, about 13 s left") == 2
    elements(text)
    world.upgrades.pause("inventory", actor="alice", reason="later")
    assert world.client().get("/").text.count("100 rows/s, held") == 2


def test_what_others_name_is_escaped(world: World) -> None:
    world.at_rest()
    world.leases.join("inventory", "inventory-api", instance_id="web-1", nonce="n", release="1", host=NASTY)
    world.upgrades.begin("inventory", "2", actor="test")
    world.upgrades.pause("inventory", actor="test", reason=NASTY)
    world.managed.on["main"].error = NASTY
    world.cycle()
    text = world.client().get("/").text
    assert "alert(1)" in text
    assert "<script>alert" not in text
    assert elements(text).count("script") == 1
    assert elements(world.client().get("/?fragment=true").text).count("script") == 0


def test_only_its_own_script_may_run(world: World) -> None:
    first, second = world.client().get("/"), world.client().get("/")
    policy = first.headers["content-security-policy"]
    nonce = re.search(r"script-src 'nonce-([^']+)'", policy)
    assert nonce is not None
    assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy
    for part in ("connect-src 'self'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"):
        assert part in policy
    assert re.findall(r"<(?:script|style) nonce=\"([^\"]+)\"", first.text) == [nonce[1], nonce[1]]
    assert " style=" not in first.text and "onclick" not in first.text
    assert nonce[1] not in second.text
    assert not re.findall(r"(?:src|href)=\"(?!/)", first.text)


def test_the_script_is_given_the_same_content(world: World) -> None:
    client = world.expanded().client()
    fragment = client.get("/?fragment=true")
    assert fragment.headers["content-type"] == "text/html; charset=utf-8"
    assert fragment.text in client.get("/").text


def test_with_tokens_the_page_shows_nothing_to_strangers(world: World) -> None:
    tokens, secrets = tokens_for_all_roles()
    world.expanded()
    page = world.client(tokens).get("/")
    assert page.status_code == 200
    assert "inventory" not in page.text and "http-equiv" not in page.text
    assert world.client(tokens).get("/?fragment=true").status_code == 401
    for known in (world.client(tokens, token=secrets[Role.READER]).get(path) for path in ("/", "/?fragment=true")):
        assert "old-1" in known.text and secrets[Role.READER] not in known.text


def test_a_store_that_does_not_answer_is_said_on_the_page(world: World) -> None:
    world.store.is_broken = True
    answer = world.client().get("/")
    assert answer.status_code == 200
    assert "the state database does not answer" in answer.text


def test_many_culprits_are_counted(world: World) -> None:
    world.at_rest()
    for number in range(15):
        world.join(f"old-{number:02}", release="1")
    world.upgrades.begin("inventory", "2", actor="test")
    text = world.client().get("/").text
    assert "old-11 and 3 more" in text and "old-12" not in text


def test_markup_escapes_all_but_markup() -> None:
    assert tag("p", "<b>", Markup("<i>"), class_='"') == '<p class="&quot;">&lt;b&gt;<i></p>'
