"""What a training would be, for people."""

from collections.abc import Mapping
from typing import Any

from defectgan.words import counted

# Sizes of images that are named one by one to people.
SIZES_SHOWN = 4


def facts_of(plan: Mapping[str, Any]) -> dict[str, str]:
    """A plan as lines; what the messages have named is only counted."""
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
