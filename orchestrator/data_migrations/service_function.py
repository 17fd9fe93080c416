"""The other end of a wrapped function: calls it in the environment of its service, one batch for each line it is sent.

Runs in the service's own interpreter, where nothing of ours is installed: standard library only, Python 3.8 or newer.
It is sent over standard input, never imported by the program. Then each line of standard input is a request, such as
`{"max_count": 100}`, and each line of standard output an answer: `{"ready": true}` once, `{"found": 7, "done": 5}`, or
`{"error": "..."}`. Whatever the function prints goes to standard error. When standard input ends, whoever asks is gone:
this process ends at once, also in the middle of a call, whose transaction the database then rolls back.
"""

from __future__ import annotations

import importlib
import json
import os
import queue
import sys
import threading
import traceback
from typing import Any, TextIO


def main(function_name: str, context_name: str, setup: str, idle_seconds: float) -> None:
    """Answer until standard input ends, or nobody asks for so long."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # for what is printed, here and by programs that the function starts
    try:
        exec(compile(setup, "setup", "exec"), {"__name__": "setup"})
        function = _named(function_name)
        context = _named(context_name) if context_name else None
        _answer(answers, {"ready": True})
    except BaseException as error:
        _answer(answers, _fault(error))
        return
    requests: queue.Queue[dict[str, int]] = queue.Queue()
    threading.Thread(target=_read, args=(requests,), daemon=True).start()
    while True:
        try:
            request = requests.get(timeout=idle_seconds)
        except queue.Empty:
            return
        _answer(answers, _called(function, context, request["max_count"]))


def _read(requests: queue.Queue[dict[str, int]]) -> None:
    for line in sys.stdin.buffer:
        requests.put(json.loads(line.decode("utf-8")))
    os._exit(0)


def _called(function: Any, context: Any, max_count: int) -> dict[str, object]:
    try:
        answer = function(None if context is None else context(), max_count)
        return _counts(answer)
    except BaseException as error:
        return _fault(error)


def _counts(answer: Any) -> dict[str, object]:
    """What is wrong with an answer is said without a traceback: it would show our own lines."""
    if not (isinstance(answer, (tuple, list)) and len(answer) == 2 and all(map(_is_count, answer))):
        return {"error": f"TypeError: it returned {answer!r}, which are not two counts, of rows found and rows done"}
    found, done = answer
    if done > found:
        return {"error": f"ValueError: it returned {answer!r}: it did more rows than it found"}
    return {"found": int(found), "done": int(done)}


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _named(name: str) -> Any:
    module, _, attributes = name.partition(":")
    found: Any = importlib.import_module(module)
    for attribute in attributes.split("."):
        found = getattr(found, attribute)
    return found


def _fault(error: BaseException) -> dict[str, object]:
    traceback.print_exc()
    return {"error": f"{type(error).__name__}: {error}"}


def _answer(answers: TextIO, answer: dict[str, object]) -> None:
    sys.stdout.flush()
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


if __name__ == "__main__":
    main(sys.argv[2], sys.argv[3], sys.argv[4], float(sys.argv[5]))
