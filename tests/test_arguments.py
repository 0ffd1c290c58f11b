import pytest
from defectgan_cli.arguments import rewrite


@pytest.mark.parametrize(
    ("written", "understood"),
    [
        ("--classes a b c", "--classes a --classes b --classes c"),
        ("--classes a,b", "--classes a --classes b"),
        ("--classes=a,b --steps 3", "--classes a --classes b --steps 3"),
        ("--classes a --classes b", "--classes a --classes b"),
        ("--classes a b --steps 3 --out x", "--classes a --classes b --steps 3 --out x"),
        ("--defect a b --n 5", "--defect a --defect b --n 5"),
        ("--resume", "--resume latest"),
        ("--resume runs/x --quiet", "--resume runs/x --quiet"),
        ("--resume --steps 9", "--resume latest --steps 9"),
        ("--classes", "--classes"),
        ("--classes -dash b -q", "--classes -dash --classes b -q"),
        ("--classes=-dash --steps 3", "--classes -dash --steps 3"),
        ("--steps 3 -- --classes a b", "--steps 3 -- --classes a b"),
    ],
)
def test_lists_are_understood_as_people_write_them(written: str, understood: str) -> None:
    assert rewrite(written.split()) == understood.split()


def test_a_name_with_spaces_stays_whole() -> None:
    assert rewrite(["--classes", "bent pin, left", "b"]) == [
        "--classes",
        "bent pin, left",
        "--classes",
        "b",
    ]
