"""What a training would be, without making anything."""

from pathlib import Path
from typing import Any

from defectgan.training.job import Job


def plan_of(job: Job, *, preset: str, device: str, out: Path) -> dict[str, Any]:
    """A job as one plain object.

    Args:
        job: the job.
        preset: the preset or file of a new one.
        device: where it would compute.
        out: the folder that the run's folder would be made in.
    """
    index, data, training = job.index, job.config.data, job.config.training
    return {
        "preset": str(job.resumed.config) if job.resumed else preset,
        "device": device,
        "layout": index.layout,
        "classes": index.counts(),
        "masks": sum(sample.mask is not None for sample in index.samples),
        "sizes": index.sizes(),
        "skipped": [{"file": str(path), "reason": reason} for path, reason in index.skipped],
        "notes": list(index.notes),
        "multi_label": index.multi_label,
        "split": index.split_counts(),
        "parameters": job.parameters(),
        "image_cache_mib": job.image_cache_mib(),
        "image_size": data.image_size,
        "fit": data.fit,
        "channels": index.channels,
        "batch_size": training.batch_size,
        "steps": training.steps,
        "warmup_steps": job.warmup_steps(),
        "out": str(job.resumed.path if job.resumed else out / "<time>-<name>"),
    }
