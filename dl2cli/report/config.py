"""What a user asks of a report."""

from __future__ import annotations

from dataclasses import dataclass

from dl2cli.errors import UsageError

DEFAULT_BASELINE = "raw"
GROUP_FIELDS = (
    "group",
    "kind",
    "dataset",
    "variant",
    "codec",
    "quality",
    "storage",
    "storage_path",
    "loader",
    "dataset_class",
    "arch",
    "workers",
    "global_batch",
    "world_size",
    "device",
    "status",
)


@dataclass(frozen=True, slots=True)
class EpochImages:
    """Images an epoch of the runs or data sets that `pattern` names.

    Without VAL, validation images are not counted in a rate.
    """

    pattern: str
    train: int
    val: int

    @classmethod
    def parse(cls, text: str) -> EpochImages:
        """Read `TRAIN`, `TRAIN+VAL` or `PATTERN=TRAIN+VAL`.

        Raises:
            UsageError: the text matches none of these forms.
        """
        pattern, _, counts = text.rpartition("=")
        train, plus, val = counts.partition("+")
        try:
            images = cls(pattern or "*", int(train), int(val) if plus else 0)
        except ValueError:
            images = cls("", 0, 0)
        if images.train < 1 or images.val < 0:
            raise UsageError(
                f"--images-per-epoch {text!r}: write TRAIN, TRAIN+VAL or PATTERN=TRAIN+VAL, "
                "for example 1281167+50000."
            )
        return images


@dataclass(frozen=True, slots=True)
class EpochTime:
    """A borrowed epoch time for the runs that `pattern` names: seconds, or another run's mean."""

    pattern: str
    seconds: float | None
    run: str | None

    @classmethod
    def parse(cls, text: str) -> EpochTime:
        """Read `SECONDS`, `RUN`, `PATTERN=SECONDS` or `PATTERN=RUN`.

        Raises:
            UsageError: the seconds are not above zero, or a side is empty.
        """
        pattern, equals, value = text.rpartition("=")
        if not value or (equals and not pattern):
            raise UsageError(f"--epoch-time {text!r}: write SECONDS, RUN or PATTERN=SECONDS|RUN.")
        try:
            seconds = float(value)
        except ValueError:
            return cls(pattern or "*", None, value)
        if not 0 < seconds < float("inf"):
            raise UsageError(f"--epoch-time {text!r}: the seconds must be above zero.")
        return cls(pattern or "*", seconds, None)


@dataclass(frozen=True, slots=True)
class Selection:
    """A filter: runs whose `field` matches the pattern; the field `run` is the identity."""

    field: str
    pattern: str

    @classmethod
    def parse(cls, text: str) -> Selection:
        """Read `GLOB` (over runs) or `FIELD=GLOB`.

        Raises:
            UsageError: the field is unknown.
        """
        field, equals, pattern = text.partition("=")
        if not equals:
            return cls("run", text)
        if field not in (*GROUP_FIELDS, "run", "file"):
            raise UsageError(
                f"--select {text!r}: there is no field {field!r}; fields are run, file, "
                f"{', '.join(GROUP_FIELDS)}. For a run whose name has a =, write run={text}."
            )
        return cls(field, pattern)


@dataclass(frozen=True, slots=True)
class ReportConfig:
    """The options of a report; the defaults give the definitions of the published analysis."""

    drop_first: int = 1
    baseline: str = DEFAULT_BASELINE
    select: tuple[Selection, ...] = ()
    group_by: tuple[str, ...] = ()
    sort: str = ""
    tables: tuple[str, ...] = ()  # those that are asked for; none: all
    images: tuple[EpochImages, ...] = ()
    targets_pct: tuple[float, ...] = ()
    budgets_h: tuple[float, ...] = ()
    epoch_times: tuple[EpochTime, ...] = ()

    def __post_init__(self) -> None:
        if self.drop_first < 0:
            raise UsageError("--drop-first cannot be below 0.")
        if unknown := [name for name in self.group_by if name not in GROUP_FIELDS]:
            raise UsageError(
                f"--group-by: there is no field {unknown[0]!r}; fields are "
                f"{', '.join(GROUP_FIELDS)}."
            )
        if any(not 0 < target <= 100 for target in self.targets_pct):
            raise UsageError("--target is a top-1 accuracy above 0 and up to 100 %.")
        if any(not 0 < hours < float("inf") for hours in self.budgets_h):
            raise UsageError("--budget is a number of hours above 0.")
