"""The main job on sample_data: with a model trained for six minutes, then with shipped weights.

python sample_data/demo.py --out demo
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
WEIGHTS = HERE / "pcb64.safetensors"
# Boards that neither model has seen: drawn with another seed than the set beside this file.
UNSEEN_SEED = "1"
UNSEEN_IMAGES = "32"
IMAGES = "48"


def say(text: str) -> None:
    print(f"\n--- {text}", flush=True)


def defectgan(*arguments: str | Path) -> None:
    """Show a command as a person would type it, and run it with the interpreter that runs this."""
    words = [str(a) for a in arguments]
    print("$ defectgan " + " ".join(words), flush=True)
    command = Path(sys.executable).parent / "defectgan"
    subprocess.run([command, *words], check=True)


def use(model: Path, unseen: Path, out: Path) -> None:
    """Generate over all classes, and judge the masks on unseen boards and on what was generated."""
    generated = out / "generated"
    chosen = ("--model", model)
    defectgan("generate", "--normal", unseen / "normal", "--n", IMAGES, *chosen, "--out", generated)
    defectgan("inspect-masks", generated, "--out", out / "inspect-generated")
    defectgan("inspect-masks", *chosen, "--data", unseen, "--out", out / "inspect-unseen-boards")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", default="200", help="steps of the short training")
    options = parser.parse_args()
    out: Path = options.out / time.strftime("%Y%m%d-%H%M%S")
    unseen = out / "unseen-boards"

    say("drawing boards that no model has seen")
    draw = [sys.executable, str(HERE / "draw.py"), "--out", str(unseen), "--seed", UNSEEN_SEED]
    subprocess.run([*draw, "--normal", UNSEEN_IMAGES, "--defects", UNSEEN_IMAGES], check=True)

    say("a model of our own: about six minutes on two cores")
    runs = out / "runs"
    defectgan("train", "--data", HERE, "--config", "quick", "--steps", options.steps, "--out", runs)
    use(runs / "latest", unseen, out / "six-minutes")
    defectgan("export", "--model", runs / "latest", "--out", out / "six-minutes" / "export")

    say("the same with the shipped weights, trained for longer")
    use(WEIGHTS, unseen, out / "shipped")

    say("look at")
    for folder in ("six-minutes", "shipped"):
        for sheet in ("inspect-generated", "inspect-unseen-boards"):
            print(out / folder / sheet / "report.html")
    print(runs / "latest" / "samples")


if __name__ == "__main__":
    main()
