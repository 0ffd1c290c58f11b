"""What a person looks at in a browser: one HTML file that needs nothing else, above all no network.

A page's own style and script are the only ones that its content security policy lets run; names of
files and classes are text wherever they stand.
"""

import base64
import hashlib
import time
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray

from defectgan import __version__
from defectgan.files import write_atomically
from defectgan.images import to_webp


def write_page(path: Path, package: str, name: str, *, title: str, **context: Any) -> None:
    """Write a page, whole or not at all.

    Args:
        path: where to.
        package: whose folder ``templates`` has ``<name>.html``, which extends ``page.html``, and
            what stands beside that: ``<name>.css``, and where it has one ``<name>.js``.
        name: of the template.
        title: what the page is about, in words.
        context: what the template shows.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader(__name__)]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, script = (
        _own(__name__, f"page.{kind}") + _own(package, f"{name}.{kind}") for kind in ("css", "js")
    )
    page = environment.get_template(f"{name}.html").render(
        title=title,
        version=__version__,
        made=time.strftime("%Y-%m-%d %H:%M"),
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
        **context,
    )
    write_atomically(path, page.encode())


def encoded(pixels: NDArray[np.uint8], *, side: int) -> str:
    """An image [H, W, 1, 3 or 4] as a page holds it, no side longer than ``side``: a WebP file in
    base 64.
    """
    return base64.b64encode(to_webp(pixels, side=side)).decode()


def _own(package: str, name: str) -> str:
    """A file of a package, empty if there is none."""
    file = files(package).joinpath("templates", name)
    return file.read_text("utf-8") if file.is_file() else ""


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
