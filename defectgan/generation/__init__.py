"""Generation: what to make (request, plan), how (run, layer) and where to (writers)."""

from typing import TYPE_CHECKING

from defectgan.lazy import front_door

if TYPE_CHECKING:
    from defectgan.generation.checks import Checks as Checks
    from defectgan.generation.choose import CANDIDATES as CANDIDATES
    from defectgan.generation.layer import paint_source as paint_source
    from defectgan.generation.plan import Sources as Sources
    from defectgan.generation.request import GenerateJob as GenerateJob
    from defectgan.generation.run import join_shards as join_shards
    from defectgan.generation.run import run_job as run_job
    from defectgan.generation.shards import Shard as Shard
    from defectgan.generation.wishes import Wishes as Wishes
else:
    __getattr__ = front_door(
        __name__,
        {
            "CANDIDATES": "defectgan.generation.choose",
            "Checks": "defectgan.generation.checks",
            "GenerateJob": "defectgan.generation.request",
            "Sources": "defectgan.generation.plan",
            "paint_source": "defectgan.generation.layer",
            "Shard": "defectgan.generation.shards",
            "join_shards": "defectgan.generation.run",
            "Wishes": "defectgan.generation.wishes",
            "run_job": "defectgan.generation.run",
        },
    )

__all__ = [
    "CANDIDATES",
    "Checks",
    "GenerateJob",
    "Shard",
    "Sources",
    "Wishes",
    "join_shards",
    "paint_source",
    "run_job",
]
