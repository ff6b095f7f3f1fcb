"""A run with everything computed from it: what tables, plots and findings are made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dl2cli.dataset.naming import KNOWN_IMAGES, subset_images
from dl2cli.report import metrics
from dl2cli.report.config import ReportConfig, Selection
from dl2cli.report.model import (
    BenchIoRun,
    CodecRun,
    Corpus,
    Kind,
    LogNote,
    RegimenRun,
    Run,
    Setup,
    Severity,
    StandaloneRun,
    TrainingRun,
)
from dl2cli.report.read.values import int_of, is_named

# Notes that say that a run's times are not what they seem: plots and findings leave them out.
UNUSABLE = ("opens only",)


@dataclass(frozen=True, slots=True)
class Entry:
    """A run and its figures; what does not fit the kind of run is empty."""

    run: Run
    timing: metrics.Timing
    accuracy: metrics.Accuracy
    codec: metrics.CodecStats | None = None

    @property
    def name(self) -> str:
        """The run's identity."""
        return self.run.source.run

    @property
    def setup(self) -> Setup:
        """The run's parameters."""
        return self.run.setup

    @property
    def total_s(self) -> float | None:
        """Wall time of the whole run by its own clock."""
        run = self.run
        if isinstance(run, TrainingRun | StandaloneRun | CodecRun | RegimenRun):
            return run.total_s
        return None

    @property
    def codec_rate_img_s(self) -> float | None:
        """The images a second of a codec run, or None where its times measure something else."""
        if self.codec is None or any(note.code in UNUSABLE for note in self.run.notes):
            return None
        if self.codec.shared > 1:  # the wall time is that of several variants
            return self.codec.rate_times_img_s
        return self.codec.rate_total_img_s

    def field(self, name: str) -> object:
        """Return a field that runs can be selected, grouped and compared by."""
        match name:
            case "run":
                return self.run.source.run
            case "file":
                return self.run.source.file
            case "group":
                return self.run.source.group
            case "kind":
                return self.run.kind.value
            case "status":
                return self.run.status.value
            case _:
                return getattr(self.setup, name)


def build_entries(corpus: Corpus, config: ReportConfig) -> tuple[list[Entry], list[LogNote]]:
    """Compute the figures of the selected runs, in the corpus' order, and notes on them."""
    entries = [build_entry(run, config) for run in corpus.runs]
    kept = [entry for entry in entries if is_selected(entry, config.select)]
    return kept, [note for entry in kept for note in _entry_notes(entry, config)]


def is_selected(entry: Entry, selections: Iterable[Selection]) -> bool:
    """Patterns of one field are alternatives; each field that is named must match."""
    by_field: dict[str, list[str]] = {}
    for selection in selections:
        by_field.setdefault(selection.field, []).append(selection.pattern)
    return all(
        any(matches(entry, field, pattern) for pattern in patterns)
        for field, patterns in by_field.items()
    )


def matches(entry: Entry, field: str, pattern: str) -> bool:
    """Tell whether a field's value matches a glob; an empty pattern matches an unknown value."""
    value = entry.field(field)
    return is_named("" if value is None else str(value), pattern)


def build_entry(run: Run, config: ReportConfig) -> Entry:
    """Compute the figures of one run."""
    none = metrics.Accuracy()
    if isinstance(run, TrainingRun | RegimenRun):
        timing = metrics.training_timing(run, images_of(run, config), config.drop_first)
        return Entry(run, timing, metrics.training_accuracy(run))
    if isinstance(run, StandaloneRun):
        images = images_of(run, config)
        return Entry(run, metrics.standalone_timing(run, images, config.drop_first), none)
    if isinstance(run, CodecRun):
        images = images_of(run, config)
        count = None if images.train is None else int(images.train + (images.val or 0))
        return Entry(run, metrics.Timing(), none, metrics.codec_stats(run, count))
    assert isinstance(run, BenchIoRun)
    return Entry(run, _bench_timing(run), none)


def _bench_timing(run: BenchIoRun) -> metrics.Timing:
    """Turn bench-io's seconds an image into seconds an iteration, as all other logs have them."""
    batch = run.setup.batch_size

    def iteration_s(image_s: float | None) -> float | None:
        return None if image_s is None or batch is None else image_s * batch

    parts = (run.fetch_stall_s, run.prep_stall_s)
    data_s = None if None in parts else sum(part for part in parts if part is not None)
    whole = None if data_s is None or run.compute_s is None else data_s + run.compute_s
    return metrics.Timing(
        rate_train_img_s=run.rate_img_s,
        data_s=iteration_s(data_s),
        fetch_stall_s=iteration_s(run.fetch_stall_s),
        prep_stall_s=iteration_s(run.prep_stall_s),
        compute_s=iteration_s(run.compute_s),
        iteration_s=iteration_s(whole),
        stall_frac=metrics.ratio(data_s, whole),
        bytes_per_image=run.bytes_per_image,
    )


def images_of(run: Run, config: ReportConfig) -> metrics.Images:
    """Find the images an epoch: the user's word, the log's, or the known data set's."""
    if isinstance(run, RegimenRun):
        return _pooled_images(run, config)
    for given in config.images:
        if is_given(run, given.pattern):
            return metrics.Images(given.train, given.val)
    if isinstance(run, TrainingRun):
        if run.images_train is not None:
            return metrics.Images(run.images_train, run.images_val)
        synthetic = int_of(run.params, "synth_train_samples")
        if run.setup.dataset == "synthetic" and synthetic is not None and synthetic > 0:
            return metrics.Images(synthetic, int_of(run.params, "synth_val_samples"))
    known = subset_images(run.setup.dataset or "", run.setup.subset_frac or 1.0)
    return metrics.Images(*known) if known else metrics.Images()


def is_given(run: Run, pattern: str) -> bool:
    """Tell whether the pattern of an --images-per-epoch names a run, its file or its data set."""
    names = (run.source.run, run.source.file, run.setup.dataset or "")
    return any(is_named(name, pattern) for name in names)


def _pooled_images(run: RegimenRun, config: ReportConfig) -> metrics.Images:
    """Return the mean over the epochs that count, so that a rate stays total over total."""
    weighted = [
        (images_of(stage, config), max(0, len(stage.epochs) - config.drop_first))
        for stage in run.stages
    ]
    sets = {images for images, _ in weighted}
    if len(sets) == 1:
        return sets.pop()
    epochs = sum(count for _, count in weighted)
    if not epochs or any(images.train is None for images in sets):
        return metrics.Images()
    train = sum((images.train or 0) * count for images, count in weighted) / epochs
    val = sum((images.val or 0) * count for images, count in weighted) / epochs
    return metrics.Images(train, val)


def _entry_notes(entry: Entry, config: ReportConfig) -> Iterable[LogNote]:
    run, timing = entry.run, entry.timing
    if not isinstance(run, TrainingRun | StandaloneRun) or not timing.epochs_done:
        return
    file = run.source.file
    if timing.epoch_mean_s is None:
        text = (
            f"No epoch is left for means: of {timing.epochs_done} the first "
            f"{config.drop_first} do not count."
        )
        yield LogNote(Severity.WARNING, "too few epochs", text, file)
    elif timing.rate_epoch_img_s is None:
        known = ", ".join(KNOWN_IMAGES)
        text = (
            f"The log does not say how many images {run.setup.dataset or 'its data set'} has "
            f"(known are {known}): give --images-per-epoch for rates an epoch."
        )
        yield LogNote(Severity.WARNING, "unknown size", text, file)
    wrong = metrics.ratio(timing.rate_speedmean_img_s, timing.rate_train_img_s)
    if wrong is not None and wrong > 1.5:
        text = (
            f"The logged t.iteration_speed averages to {timing.rate_speedmean_img_s:.0f} img/s, "
            f"{wrong:.1f} times the true rate: a mean of rates is not a rate."
        )
        yield LogNote(Severity.INFO, "speed mean", text, file)


def compared(entries: Sequence[Entry]) -> list[Entry]:
    """Leave out duplicates, and stages whose regimen is there."""
    regimens = {
        stage.source.run
        for entry in entries
        if isinstance(entry.run, RegimenRun)
        for stage in entry.run.stages
    }
    return [
        entry
        for entry in entries
        if entry.run.duplicate_of is None
        and not (entry.run.kind is Kind.STAGE and entry.name in regimens)
    ]
