"""What a training would be: for scripts as one object, for people as lines."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from defectgan.words import counted

if TYPE_CHECKING:
    from defectgan.training.job import Job

# Sizes of images that are named one by one to people.
SIZES_SHOWN = 4


def plan_of(job: "Job", *, preset: str, device: str, out: Path) -> dict[str, Any]:
    """All that ``train --dry-run`` says."""
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


def facts_of(plan: Mapping[str, Any]) -> dict[str, str]:
    """The same for people; what the messages have named is only counted."""
    height, width = plan["image_size"]
    sizes = [f"{n} of {size}" for size, n in plan["sizes"].items()]
    more = [f"and {counted(len(sizes) - SIZES_SHOWN, 'other size')}"] if sizes[SIZES_SHOWN:] else []
    warmup = f", after at most {plan['warmup_steps']} of the classifier alone"
    return {
        "preset": plan["preset"],
        "device": plan["device"],
        "layout": plan["layout"],
        "images": _listed(plan["classes"]),
        "several labels": "on some images" if plan["multi_label"] else "on no image",
        "true masks": f"of {counted(plan['masks'], 'image')}",
        "sizes": "; ".join(sizes[:SIZES_SHOWN] + more),
        "left out": counted(len(plan["skipped"]), "file"),
        "splits": _listed(plan["split"]),
        "networks see": f"{width} wide, {height} high, {counted(plan['channels'], 'channel')}, "
        f"fit {plan['fit']}",
        "parameters": _listed(plan["parameters"]),
        "images in memory": f"{plan['image_cache_mib']} MiB",
        "batch size": str(plan["batch_size"]),
        "steps": f"{plan['steps']}{warmup if plan['warmup_steps'] else ''}",
        "run folder": plan["out"],
    }


def _listed(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in numbers.items())
