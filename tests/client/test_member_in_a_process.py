"""A member in a real process: its background thread, real connections, several threads at once, interpreter exit."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from orchestrator.client import Evicted, LeaseLost, Member
from tests.client.daemon_stand_in import Answer, Asked, StandIn, problem, serving

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 30  # a limit for failures; nothing waits that long


def wait_for_ack(daemon: StandIn, publication: int) -> bool:
    with daemon.heard:
        return daemon.heard.wait_for(lambda: publication in daemon.acks, PATIENCE_SECONDS)


def new_member(url: str) -> Member:
    return Member([url], schema="inventory", fleet="inventory-api", release="2")


def test_background_thread_renews_switches_and_acks() -> None:
    daemon = StandIn()
    daemon.renew_seconds = 0.02
    with serving(daemon.answer) as url:
        member = new_member(url)
        switched = threading.Event()
        member.on_change(lambda standing: switched.set())
        member.join()
        with member.transaction() as behaviour:
            daemon.publish("new", "both")
            assert switched.wait(PATIENCE_SECONDS)
            assert not behaviour.reads_new
            assert 18 not in daemon.acks
        assert wait_for_ack(daemon, 18)
        with member.transaction() as behaviour:
            assert behaviour.reads_new
        member.leave()
        assert daemon.instances == {}


def test_log_says_which_daemon_could_not_renew(caplog: pytest.LogCaptureFixture) -> None:
    daemon = StandIn()
    with serving(daemon.answer) as url:
        member = new_member(url)
        member.join(in_background=False)
        lease = f"PUT {url}/v1/schemas/inventory/fleets/inventory-api/instances/{member.instance_id}/lease"
        unavailable, broken = problem(503, "state_database_unavailable", kind="unavailable"), Answer(0)
        for answers in ([unavailable], [Answer(200, {})], [broken, broken]):
            daemon.next_answers = [*answers]
            member.renew()
    refused, malformed, silent = [record.getMessage() for record in caplog.records]
    assert f"{lease}: because state_database_unavailable (state_database_unavailable)" in refused
    assert f"{lease}: the daemon's answer has " in malformed
    assert f"no answer came back: {url}: " in silent


def test_end_of_the_last_older_transaction_wakes_the_thread() -> None:
    daemon = StandIn()  # renews every 20 s: only being woken brings the ack in time
    with serving(daemon.answer) as url:
        member = new_member(url)
        member.join()
        with member.transaction():
            daemon.publish("new", "both")
            member.renew()
        assert wait_for_ack(daemon, 18)
        member.leave()


def test_background_thread_announces_an_eviction() -> None:
    daemon = StandIn()
    daemon.renew_seconds = 0.02
    with serving(daemon.answer) as url:
        member = new_member(url)
        lost: list[LeaseLost] = []
        announced = threading.Event()
        member.on_lost(lost.append)
        member.on_lost(lambda loss: announced.set())
        member.join()
        daemon.evicted.add(str(member.instance_id))
        assert announced.wait(PATIENCE_SECONDS)
        assert isinstance(lost[0], Evicted)
        member.leave()


def test_no_ack_while_any_of_many_threads_is_in_an_older_transaction() -> None:
    daemon = StandIn()
    daemon.renew_seconds = 0.001
    lock = threading.Lock()
    open_under: dict[int, int] = {}  # publication: transactions that are open under it
    violations: list[str] = []
    finished = threading.Event()

    def answer(asked: Asked) -> Answer:
        ack: int | None = asked.body["ack"] if asked.method == "PUT" else None
        if ack is not None:
            with lock:
                older = [number for number, count in open_under.items() if count and number < ack]
            if older:
                violations.append(f"ack of {ack} while {older} were open")
        return daemon.answer(asked)

    with serving(answer) as url:
        member = new_member(url)
        member.join()

        def work() -> None:
            while not finished.is_set():
                transaction = member.transaction()
                with transaction:
                    assert transaction._period is not None
                    publication = transaction._period.standing.publication
                    with lock:
                        open_under[publication] = open_under.get(publication, 0) + 1
                    with lock:
                        open_under[publication] -= 1

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for publication in range(18, 28):
            daemon.publish("new" if publication % 2 else "old", "both")
            assert wait_for_ack(daemon, publication)
        finished.set()
        for thread in threads:
            thread.join()
        member.leave()
    assert violations == []


def test_leave_at_exit_leaves_when_the_interpreter_ends() -> None:
    daemon = StandIn()
    program = (
        "import sys; from orchestrator.client import Member\n"
        "member = Member(sys.argv[1], schema='inventory', fleet='inventory-api', release='2')\n"
        "member.join(); member.leave_at_exit()\n"
    )
    with serving(daemon.answer) as url:
        subprocess.run([sys.executable, "-c", program, url], cwd=ROOT, check=True, timeout=PATIENCE_SECONDS)
    assert [asked.method for asked in daemon.asked] == ["POST", "DELETE"]


def test_process_that_just_ends_stays_registered() -> None:
    daemon = StandIn()
    program = (
        "import sys; from orchestrator.client import Member\n"
        "Member(sys.argv[1], schema='inventory', fleet='inventory-api', release='2').join()\n"
    )
    with serving(daemon.answer) as url:
        subprocess.run([sys.executable, "-c", program, url], cwd=ROOT, check=True, timeout=PATIENCE_SECONDS)
    assert len(daemon.instances) == 1, "only somebody who drained may leave"


def test_client_needs_the_standard_library_and_nothing_else() -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import orchestrator.client\n"
        "known = sys.stdlib_module_names | {'__main__', '__mp_main__'}\n"
        "print(sorted(name for name in sys.modules if name.partition('.')[0] not in known))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, str(ROOT)], capture_output=True, text=True, check=True
    )
    loaded = ran.stdout.strip().strip("[]").replace("'", "").split(", ")
    assert "orchestrator.client.member" in loaded
    assert [name for name in loaded if name != "orchestrator" and not name.startswith("orchestrator.client")] == []
