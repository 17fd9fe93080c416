"""What the state keeps as JSON is read by many threads at once, also in a process that has read none of it before."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent

PROGRAM = """
import sys, threading

sys.setswitchinterval(1e-6)
from orchestrator.store.tables import FactsText, TellingText, TracksText

FACTS = '''{"name": "a", "copy": {"upgrade_id": 1, "phase": 1, "fence": 1, "revision": 1, "incarnation": "i",
    "admits": [{"release": "1", "joins": true,
                "stance": {"upgrade_id": 1, "publication": 1, "phase": 1, "behaviour": 1}}]},
    "migrations": [{"name": "m", "state": "pending"}]}'''
TELLING = '{"phase_before": 1, "publication_before": 1, "wave": 1, "since": 1.0}'
TRACKS = '[{"name": "m", "share": 0.5, "rows": 9, "samples": [{"at": 1.0, "moved": 1, "verified": 0}]}]'
facts, telling, tracks = FactsText(), TellingText(), TracksText()
ready = threading.Barrier(8)

def read():
    ready.wait()
    for _ in range(20):
        assert facts.process_result_value(FACTS, None).copy.admits[0].joins
        assert telling.process_result_value(TELLING, None).wave == 1
        assert tracks.process_result_value(TRACKS, None)[0].samples[0].moved == 1

threads = [threading.Thread(target=read) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_threads_that_read_for_the_first_time_do_not_end_the_process() -> None:
    for _ in range(2):
        ran = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=False)
        assert (ran.returncode, ran.stderr) == (0, "")
