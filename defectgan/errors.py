"""The exception tree: what can go wrong for a user, each with the exit code that the command line
ends with.

DefectganError
 ├── SettingError       a setting that cannot be: unknown key, value out of range           (2)
 ├── DataError          images, masks or folders that are missing, damaged or ambiguous     (3)
 ├── ModelError         weights or run folders that are missing, damaged or of another kind (3)
 ├── TrainingError      a training that cannot go on, such as a loss that is not finite     (3)
 ├── OutOfMemory        what is to be computed does not fit into the memory of a device     (3)
 └── CheckFailed        a check was made and did not hold: parity, a quality gate           (4)
"""


class DefectganError(Exception):
    """Base of all errors that are the user's to mend; its text says what, where and what to do.

    ``mend`` is the argument that would mend it and a value for it: the command line knows how such
    an argument is written there.
    """

    exit_code = 1

    def __init__(self, text: str, *, mend: tuple[str, str] | None = None) -> None:
        super().__init__(text)
        self.mend = mend


class SettingError(DefectganError):
    """A setting is unknown or out of its range."""

    exit_code = 2


class DataError(DefectganError):
    """Images, masks or folders are missing, damaged or ambiguous."""

    exit_code = 3


class ModelError(DefectganError):
    """Weights or a run folder are missing, damaged or of another kind."""

    exit_code = 3


class TrainingError(DefectganError):
    """A training cannot go on."""

    exit_code = 3


class OutOfMemory(DefectganError):
    """What is to be computed does not fit into the memory of a device."""

    exit_code = 3


class CheckFailed(DefectganError):
    """A check was made and did not hold."""

    exit_code = 4
