"""How long a job takes: a few of its images are made in a folder that is then thrown away."""

import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from defectgan.generation.prepare import Prepared
from defectgan.generation.run import run_job
from defectgan.generation.shards import Shard

# Batches that are timed, behind a first one, which is slower.
TIMED = 2


def expected_seconds(prepared: Prepared, shard: Shard, *, batch_size: int) -> float:
    """How long a shard of a job takes on this machine from its beginning, thresholds included.

    Raises:
        DataError: if all sources are damaged.
        OutOfMemory: if not even one image at a time fits into memory.
    """
    each = max(1, batch_size // prepared.order.tries)
    first, both = each, (1 + TIMED) * each

    def seconds(out: Path, n: int) -> float:
        began = time.perf_counter()
        run_job(
            replace(prepared.job, n=n),
            prepared.model,
            out,
            device=prepared.device,
            batch_size=batch_size,
        )
        return time.perf_counter() - began

    with TemporaryDirectory(prefix="defectgan-") as folder:
        out = Path(folder) / "set"
        begins = seconds(out, first)
        rate = seconds(out, both) / (both - first)
    return begins + max(0, shard.share(prepared.job.n) - first) * rate
