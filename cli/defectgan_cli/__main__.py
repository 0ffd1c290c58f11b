"""python -m defectgan_cli, which torchrun can start."""

from defectgan_cli.main import app

app()
