"""Markup: HTML that is escaped by construction, and the shell of a page with a strict content security policy."""

from __future__ import annotations

import html
import secrets

from orchestrator.api.exchange import HTML, Answer

VOID = frozenset({"meta", "input", "link", "br"})

STYLE = """
:root { color-scheme: light dark; --ink: #1a1d21; --dim: #5c6670; --line: #d6dbe0; --back: #fff; --mark: #0b62c4;
  --good: #1a7f37; --bad: #b42318; --wait: #8a5a00; --code: #f2f4f6; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8ea; --dim: #9aa4ae; --line: #343a41; --back: #15181b;
  --mark: #6cb0ff; --good: #56c271; --bad: #ff8a80; --wait: #e2b14c; --code: #22272c; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem; max-width: 70rem; color: var(--ink); background: var(--back);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.3rem; margin: 0 0 1rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .3rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
p { margin: .3rem 0; } a { color: var(--mark); }
code { font: .9em ui-monospace, monospace; background: var(--code); padding: .1em .3em; border-radius: .2em;
  overflow-wrap: anywhere; }
table { border-collapse: collapse; margin: .4rem 0; } caption { text-align: left; color: var(--dim); }
th, td { text-align: left; vertical-align: top; padding: .2rem 1rem .2rem 0; border-bottom: 1px solid var(--line); }
th { font-weight: 600; color: var(--dim); }
.ladder { list-style: none; display: flex; flex-wrap: wrap; gap: .3rem; padding: 0; margin: .5rem 0; }
.ladder li { padding: .1rem .6rem; border: 1px solid var(--line); border-radius: 1rem; color: var(--dim); }
.ladder .passed { color: var(--good); } .ladder .next { border-style: dashed; color: var(--ink); }
.ladder .current { border-color: var(--mark); color: var(--mark); font-weight: 600; }
.blockers li { margin: .4rem 0; } .wait { color: var(--wait); } .bad { color: var(--bad); }
.good { color: var(--good); } .dim { color: var(--dim); } progress { width: 14rem; vertical-align: middle; }
"""


class Markup(str):
    """Text that is HTML already. Everything else that is put into a tag is escaped."""

    __slots__ = ()


def tag(name: str, /, *children: str, **attributes: str | None) -> Markup:
    """One element. `class_` stands for class, and an underscore for a hyphen; an attribute that is None is left out."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in VOID:
        return Markup(f"<{name}{given}>")
    return Markup(f"<{name}{given}>{joined(*children)}</{name}>")


def joined(*children: str) -> Markup:
    """Pieces one after the other, escaped where they are not HTML."""
    return Markup("".join(child if isinstance(child, Markup) else html.escape(child) for child in children))


def page(title: str, *body: str, script: str = "", refresh_seconds: int | None = None) -> Answer:
    """A whole page. Only its own style and script may run: both carry a nonce that is new each time."""
    nonce = secrets.token_urlsafe(16)
    head = [
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", Markup(STYLE), nonce=nonce),
    ]
    if refresh_seconds is not None:
        refresh = tag("meta", http_equiv="refresh", content=str(refresh_seconds))
        head.append(tag("noscript", refresh))
    content = [*body]
    if script:
        content.append(tag("script", Markup(script), nonce=nonce, type="module"))
    document = joined(
        Markup("<!doctype html>\n"), tag("html", tag("head", *head), tag("body", *content), lang="en"), "\n"
    )
    policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Answer(document.encode(), 200, {"Content-Security-Policy": policy}, HTML)
