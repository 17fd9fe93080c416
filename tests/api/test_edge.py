"""What holds for every request: strangers, sizes, media types, methods, headers, mistakes of ours."""

import logging
from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest

from tests.api.world import INSTANCES, SCHEMA, UPGRADE, World, assert_problem


@pytest.mark.parametrize("host", ["localhost", "localhost:8776", "127.0.0.1:8776", "127.8.8.8", "[::1]:8776"])
def test_loopback_names_are_answered_without_tokens(world: World, host: str) -> None:
    assert world.client().get("/v1/schemas", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "192.168.0.1", "", "[::1", "@", "::1"]
)
@pytest.mark.parametrize("path", ["/v1/schemas", "/", "/healthz", "/nothing"])
def test_other_names_for_this_address_are_refused_without_tokens(world: World, host: str, path: str) -> None:
    assert_problem(world.client().get(path, headers={"Host": host}), 403, "host_refused")


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:9999", "http://["])
def test_a_page_of_another_site_cannot_write(world: World, origin: str) -> None:
    world.at_rest()
    answer = world.client().post(UPGRADE, {"release": "2"}, headers={"Origin": origin})
    assert_problem(answer, 403, "cross_site")
    assert world.client().get(UPGRADE).json()["status"] == "none"


@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "application/jsonx"]
)
def test_what_browsers_send_across_sites_unasked_is_refused(world: World, media_type: str) -> None:
    world.at_rest()
    headers = {"Content-Type": media_type} if media_type else {}
    answer = world.client().request("POST", UPGRADE, content=b'{"release":"2"}', headers=headers)
    assert_problem(answer, 415, "media_type_unsupported")
    assert world.client().get(UPGRADE).json()["status"] == "none"


def test_a_charset_is_no_harm(world: World) -> None:
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    answer = world.at_rest().client().request("POST", UPGRADE, content=b'{"release":"2"}', headers=headers)
    assert answer.status_code == 201


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"{", 400, "body_malformed"),
        (b"\xff", 400, "body_malformed"),
        (b'{"release":"\xff"}', 400, "body_malformed"),
        (b'{"release":"\\ud800"}', 400, "body_malformed"),
        (b"[1]", 422, "body_invalid"),
        (b"null", 422, "body_invalid"),
        (b"", 422, "body_invalid"),
        (b'{"release":2}', 422, "body_invalid"),
        (b'{"release":"2","relaese":"3"}', 422, "body_invalid"),
        (b'{"release":"2"}{"release":"3"}', 400, "body_malformed"),
        (b"[" * 60_000, 422, "body_invalid"),
        (b'{"release":' + b"[" * 60_000, 422, "body_invalid"),
        (b'{"relaese":' + b"[" * 60_000, 422, "body_invalid"),
    ],
)
def test_a_wrong_body_is_one_clear_sentence(world: World, content: bytes, status: int, code: str) -> None:
    headers = {"Content-Type": "application/json"}
    answer = world.at_rest().client().request("POST", UPGRADE, content=content, headers=headers)
    problem = assert_problem(answer, status, code)
    assert len(problem["detail"]) < 200
    assert world.client().get(UPGRADE).json()["status"] == "none"


def test_a_misspelt_field_is_named_with_those_there_are(world: World) -> None:
    answer = world.at_rest().client().post(UPGRADE, {"relaese": "2"})
    problem = assert_problem(answer, 422, "body_invalid")
    assert (problem["field"], problem["detail"]) == ("relaese", "the body has an unknown field relaese")
    assert problem["remedy"] == "Its fields are: release (required), reason."


def test_a_large_body_is_refused_whether_it_states_its_size_or_not(world: World) -> None:
    world.at_rest()
    large = b'{"release":"' + b"2" * 70_000 + b'"}'
    headers = {"Content-Type": "application/json"}

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(large), 1000):
            yield large[start : start + 1000]

    client = world.client()
    assert_problem(client.request("POST", UPGRADE, content=large, headers=headers), 413, "body_too_large")
    assert_problem(client.request("POST", UPGRADE, content=pieces(), headers=headers), 413, "body_too_large")
    lying = {**headers, "Content-Length": "9" * 50}
    assert_problem(client.request("POST", UPGRADE, content=b"{}", headers=lying), 413, "body_too_large")


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_other_methods_are_told_which_there_are(world: World, method: str) -> None:
    answer = world.client().request(method, UPGRADE)
    assert_problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, HEAD, POST"
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("path", ["/v1/schemas", UPGRADE, "/", "/docs", "/v1/schemas/nobody", "/nothing"])
def test_head_answers_as_get_does_without_the_body(world: World, path: str) -> None:
    client = world.at_rest().client()
    head, get = client.request("HEAD", path), client.get(path)
    assert head.status_code == get.status_code
    assert head.content == b""
    assert head.headers["content-type"] == get.headers["content-type"]
    assert head.headers["content-length"] == str(len(get.content))


@pytest.mark.parametrize(
    "path", ["/nothing", "/v1", "/v1/", f"{SCHEMA}/", f"{UPGRADE}/", "/docs/", "/v1/schemas/a/b/c"]
)
def test_an_unknown_path_lists_nothing_and_redirects_nowhere(world: World, path: str) -> None:
    for method in ("GET", "POST", "HEAD"):
        answer = world.at_rest().client().request(method, path)
        assert answer.status_code == 404
    problem = assert_problem(world.client().get(path), 404, "path_unknown")
    assert "schemas" not in problem["detail"] + problem["remedy"]


def test_a_query_where_none_is_taken_is_refused(world: World) -> None:
    problem = assert_problem(world.at_rest().client().get(f"{SCHEMA}/plan?x=1"), 422, "query_invalid")
    assert (problem["field"], problem["remedy"]) == ("x", "This takes no query.")


def test_every_answer_is_kept_from_caches_and_frames(world: World) -> None:
    for path in ("/v1/schemas", "/nothing", "/", "/healthz"):
        headers = world.client().get(path).headers
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]


def test_a_mistake_of_ours_is_a_problem_without_a_traceback_and_logged_once(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(world.board, "schemas", fail)
    with caplog.at_level(logging.INFO):
        answer = world.client().get("/v1/schemas")
    problem = assert_problem(answer, 500, "internal_error")
    assert problem["kind"] == "failed"
    assert "secret detail" not in answer.text
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == [
        "a request failed in an unexpected way"
    ]


def test_a_refusal_is_not_logged_as_an_error(world: World, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        world.client().get("/v1/schemas/nobody")
        world.client().post(UPGRADE, {"release": "2"})
    assert [record for record in caplog.records if record.name.startswith("orchestrator")] == []


def test_a_query_of_very_many_fields_is_refused_like_any_other(world: World) -> None:
    query = "&".join(f"{number}=" for number in range(9_000))  # compared in pairs, this would take long
    assert_problem(world.client().get(f"/healthz?{query}"), 422, "query_invalid")
    assert_problem(world.client().get(f"/healthz?{query}&7="), 422, "query_invalid")


@pytest.mark.parametrize("character", list("\0\x1b\n\r\t\x7f\x85\x9b\u061c\u200f\u2028\u202e\u2066\ufeff"))
@pytest.mark.parametrize("text", ["x{}y", "{}", "x{}"])
def test_what_forges_log_lines_or_steers_terminals_is_refused(world: World, character: str, text: str) -> None:
    client = world.begun().client()
    given = text.format(character)
    refused = assert_problem(client.post(f"{UPGRADE}/pause", {"reason": given}), 422, "body_invalid")
    assert refused["detail"] == (
        "field reason of the body is not usable: it holds a line break, or another character that is not shown"
    )
    joining = {"id": "old-1", "nonce": "n", "release": "1", "host": given}
    assert_problem(client.post(INSTANCES, joining), 422, "body_invalid")
    assert_problem(client.get("/v1/events", params={"schema": given}), 422, "query_invalid")
    assert_problem(client.get(f"/v1/schemas/{quote(given)}"), 404, "path_unknown")


@pytest.mark.parametrize("text", ["x" * 1000, "Änderung 4711: «ok» \N{GRINNING FACE}", "שלום", ""])
def test_words_of_any_language_are_taken(world: World, text: str) -> None:
    answer = world.begun().client().post(f"{UPGRADE}/resume", {"reason": text})
    assert answer.status_code == 200, answer.text
