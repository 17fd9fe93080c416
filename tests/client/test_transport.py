"""The transport: kept connections, several daemons, time limits, refusals as exceptions."""

import os
import socket
import threading
import traceback
from collections.abc import Iterator

import pytest

from orchestrator.client import (
    BadAnswer,
    ClientError,
    Conflict,
    Forbidden,
    HttpTransport,
    Invalid,
    Never,
    NotFound,
    NotYet,
    Refused,
    Unauthenticated,
    Unavailable,
    Unreachable,
)
from tests.client.daemon_stand_in import Answer, Asked, problem, serving


class Echo:
    """Answers what it is told to, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.answers: list[Answer] = []

    def __call__(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        return self.answers.pop(0) if self.answers else Answer(200, {"path": asked.path, "body": asked.body})


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def url(echo: Echo) -> Iterator[str]:
    with serving(echo) as address:
        yield address


@pytest.fixture
def closed_url() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def test_request_sends_json_and_returns_json(url: str, echo: Echo) -> None:
    response = HttpTransport(url).request("POST", "/v1/x?y=1", {"release": "2"}, {"Lease-Epoch": "e"})
    assert (response.status, response.json) == (200, {"path": "/v1/x?y=1", "body": {"release": "2"}})
    assert echo.asked[0].headers["Content-Type"] == "application/json"
    assert echo.asked[0].headers["Lease-Epoch"] == "e"
    assert "Authorization" not in echo.asked[0].headers


def test_token_is_sent_as_bearer(url: str, echo: Echo) -> None:
    HttpTransport(url, token="secret").request("GET", "/")
    assert echo.asked[0].headers["Authorization"] == "Bearer secret"


def test_address_may_carry_a_path(url: str, echo: Echo) -> None:
    HttpTransport(f"{url}/orchestrator/").request("GET", "/v1/schemas")
    assert echo.asked[0].path == "/orchestrator/v1/schemas"


def test_connection_is_kept_between_requests() -> None:
    ports = set()

    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve_one_connection() -> None:
            connection, peer = server.accept()
            ports.add(peer)
            with connection, connection.makefile("rb") as lines:
                for _ in range(3):
                    while lines.readline().strip():
                        pass
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

        thread = threading.Thread(target=serve_one_connection, daemon=True)
        thread.start()
        transport = HttpTransport(f"http://127.0.0.1:{server.getsockname()[1]}")
        for _ in range(3):  # a second connection would find nobody to accept it
            assert transport.request("GET", "/", timeout=10).json == {}
        transport.close()
        thread.join()
    assert len(ports) == 1


def test_kept_connection_that_the_daemon_closed_is_replaced(url: str, echo: Echo) -> None:
    transport = HttpTransport(url)
    transport.request("GET", "/")
    echo.answers.append(Answer(0))
    with pytest.raises(Unreachable):  # a POST is not repeated behind its caller's back
        transport.request("POST", "/", {})
    assert transport.request("GET", "/").status == 200
    echo.answers.append(Answer(0))
    assert transport.request("PUT", "/").status == 200, "a repeatable request is repeated on a new connection"
    transport.close()


def test_connections_are_not_shared_with_a_forked_child(url: str) -> None:
    transport = HttpTransport(url)
    transport.request("GET", "/")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        has_one = transport._daemons[0]._take() is not None
        answered = transport.request("GET", "/child").json["path"] == "/child"
        os.write(writer, b"y" if answered and not has_one else b"n")
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 1) == b"y"
    os.close(reader)
    os.close(writer)
    assert transport.request("GET", "/parent").json["path"] == "/parent"
    transport.close()


def test_next_daemon_is_asked_when_one_is_gone(url: str, closed_url: str, echo: Echo) -> None:
    transport = HttpTransport(f"{closed_url}, {url}")
    assert transport.request("POST", "/", {}).status == 200
    assert transport._first == 1, "the daemon that answered is asked first from now on"
    assert len(echo.asked) == 1


def test_next_request_goes_elsewhere_after_a_server_error(url: str, echo: Echo) -> None:
    with serving(lambda asked: problem(503, "database_unreachable")) as ill:
        transport = HttpTransport([ill, url])
        with pytest.raises(NotYet):
            transport.request("GET", "/")
        assert transport.request("GET", "/").status == 200


def test_nobody_reachable_is_said_with_each_address(closed_url: str) -> None:
    transport = HttpTransport([closed_url, closed_url], token="secret")
    with pytest.raises(Unreachable) as caught:
        transport.request("POST", "/", {})
    assert caught.value.code == "daemon_unreachable"
    assert not caught.value.maybe_done
    assert str(caught.value).count(closed_url) == 2
    assert "secret" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("token", ["secret\r\nX: y", "secret\nmore", "sec ret", "secr\u20act", "secret\x00"])
def test_a_token_that_no_header_can_carry_is_refused_at_once_and_not_shown(token: str) -> None:
    with pytest.raises(ClientError) as caught:
        HttpTransport("http://127.0.0.1:8776", token=token)
    assert caught.value.code == "token_invalid"
    assert "sec" not in str(caught.value)


@pytest.mark.parametrize(("token", "header"), [("secret\n", "Bearer secret"), (" ", None), ("", None), (None, None)])
def test_a_token_as_a_file_holds_it_is_sent_bare(url: str, echo: Echo, token: str | None, header: str | None) -> None:
    HttpTransport(url, token=token).request("GET", "/")
    assert echo.asked[0].headers.get("Authorization") == header


def test_lost_answer_to_a_post_is_not_repeated_and_says_that_it_may_be_done(url: str, echo: Echo) -> None:
    echo.answers.append(Answer(0))
    with pytest.raises(Unreachable) as caught:
        HttpTransport([url, url]).request("POST", "/", {})
    assert (caught.value.code, caught.value.maybe_done) == ("answer_lost", True)
    assert len(echo.asked) == 1


def test_lost_answer_to_a_put_is_repeated_at_the_next_daemon(url: str, echo: Echo) -> None:
    echo.answers.append(Answer(0))
    assert HttpTransport([url, url]).request("PUT", "/", {}).status == 200
    assert len(echo.asked) == 2


def test_silent_daemon_is_given_up_after_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(Unreachable, match="no answer in time"):
            HttpTransport(address).request("GET", "/", timeout=0.05)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Invalid),
        (401, Unauthenticated),
        (403, Forbidden),
        (404, NotFound),
        (409, Conflict),
        (410, Never),
        (412, Conflict),
        (422, Invalid),
        (429, NotYet),
        (500, Unavailable),
        (503, NotYet),
        (504, Unavailable),
    ],
)
def test_refusal_becomes_an_exception_of_its_kind(url: str, echo: Echo, status: int, kind: type[Refused]) -> None:
    echo.answers.append(problem(status, "some_code", retry_after=7, blockers=[{"code": "b"}]))
    with pytest.raises(Refused) as caught:
        HttpTransport(url).request("GET", "/")
    assert type(caught.value) is kind
    assert (caught.value.status, caught.value.code, caught.value.retry_after) == (status, "some_code", 7.0)
    assert str(caught.value) == "because some_code (some_code). Do the other thing."
    assert caught.value.problem["blockers"] == [{"code": "b"}]


def test_page_of_a_proxy_is_unavailable_and_not_not_yet(url: str, echo: Echo) -> None:
    echo.answers.append(Answer(503, b"<html>busy</html>"))
    with pytest.raises(Unavailable) as caught:
        HttpTransport(url).request("GET", "/v1/schemas")
    assert caught.value.code == "http_503"
    assert f"GET {url}/v1/schemas answered with status 503" in str(caught.value)


def test_answer_that_is_not_json_is_refused_with_the_place(url: str, echo: Echo) -> None:
    echo.answers.append(Answer(200, b"hello"))
    with pytest.raises(BadAnswer, match="not JSON"):
        HttpTransport(url).request("GET", "/")


def test_redirect_is_not_followed(url: str, echo: Echo) -> None:
    echo.answers.append(Answer(302, b"", {"Location": "http://elsewhere/"}))
    with pytest.raises(BadAnswer, match="redirect to http://elsewhere/"):
        HttpTransport(url, token="secret").request("GET", "/")
    assert len(echo.asked) == 1


def test_empty_answers_have_no_json(url: str, echo: Echo) -> None:
    echo.answers += [Answer(204), Answer(304, headers={"ETag": "5"})]
    transport = HttpTransport(url)
    assert transport.request("DELETE", "/").json is None
    unchanged = transport.request("GET", "/")
    assert (unchanged.status, unchanged.headers["etag"], unchanged.json) == (304, "5", None)


@pytest.mark.parametrize(
    "url",
    [
        "",
        " , ",
        "127.0.0.1:8776",
        "ftp://host",
        "http://",
        "http://host:port",
        "http://me:secret@host",
        "http://h/?a",
        "http://me:secret@host:port",
        "http://me:secret@[host",
        "me:secret@host",
        "http://me:secret/1@host:1",
        "http://host:port?token=secret",
    ],
)
def test_unusable_address_is_refused_at_once(url: str) -> None:
    with pytest.raises(ClientError) as caught:
        HttpTransport(url)
    assert caught.value.code == "daemon_url_invalid"
    assert "secret" not in str(caught.value)
