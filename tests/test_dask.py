"""A job in parts under Dask, as docs/servers.md shows it."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, STUCK_AFTER, rows_of, wait_for
from tests.test_shards import files_of

pytest.importorskip("distributed")
PAGE = (ROOT / "docs/servers.md").read_text(encoding="utf-8")
SHIPPED = ROOT / "sample_data" / "pcb64.safetensors"
N = 240
# Two workers on this machine, and the number of the first one's process.
CLUSTER = """LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None
    ) as cluster, Client(cluster)"""
TOLD = """as client:
        print(cluster.workers[0].pid, flush=True)
"""


def program_on(normal: Path, out: Path) -> str:
    """The program of the page, with two workers on this machine and small."""
    (found,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    program: str = found.replace("20", "4")
    for ours, theirs in {
        "import Client": "import Client, LocalCluster",
        'Client("first-host:8786")': CLUSTER,
        "as client:\n": TOLD,
        '"/shared/good"': repr(str(normal)),
        "/shared/runs/latest": str(SHIPPED),
        "/shared/painted": str(out),
        "n=5000": f"n={N}",
    }.items():
        assert program.count(ours) == 1
        program = program.replace(ours, theirs)
    return program


@pytest.mark.long
def test_two_workers_paint_what_one_process_does_though_one_of_them_dies(
    boards: Path, tmp_path: Path
) -> None:
    normal, out = boards / "normal", tmp_path / "set"
    (tmp_path / "spread.py").write_text(program_on(normal, out), encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, "spread.py"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "cli")))},
    ) as job:
        assert job.stdout is not None
        worker = int(job.stdout.readline())
        wait_for(lambda: job.poll() is not None or len(list(out.glob("masks/*/*"))) > N // 8)
        os.kill(worker, signal.SIGKILL)
        assert not (out / "manifest.jsonl").exists()
        said = job.communicate(timeout=STUCK_AFTER)[1]
    assert job.returncode == 0 and "Restarting worker" in said, said
    assert len(rows_of(out)) == N and not (out / ".shards").exists()
    words = ["generate", "--model", str(SHIPPED), "--normal", str(normal), "--n", str(N), "--quiet"]
    whole = [sys.executable, "-m", "defectgan_cli", *words, "--out", "whole"]
    subprocess.run(whole, cwd=tmp_path, check=True, timeout=STUCK_AFTER, capture_output=True)
    assert files_of(out) == files_of(tmp_path / "whole")
