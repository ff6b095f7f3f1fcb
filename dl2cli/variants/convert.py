"""Converting an ImageFolder to lossy variants: plan, decode once, encode each, publish.

Worker processes take one source at a time, so memory is one decoded image a worker. Files are made
durable every few seconds, all together, before they are known as done, and a variant gets its name
only when it is whole: a folder that is called `jpeg-10` is never a part of one. A run that was
killed continues, and ends with the same bytes.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from dl2cli.analysis.pool import OrderedPool
from dl2cli.dataset.resize import check_max_side
from dl2cli.durability import sync_file_system
from dl2cli.errors import DataError, StorageError, UsageError
from dl2cli.pcr.output_folder import locked, storage_errors
from dl2cli.variants.config import (
    VariantResult,
    VariantsConfig,
    VariantsPlan,
    VariantsProgress,
    VariantsResult,
)
from dl2cli.variants.folder import VariantFolder, prepare
from dl2cli.variants.formats import check_available
from dl2cli.variants.log import log_file, write_log
from dl2cli.variants.plan import Plan, make_plan, sample, source_bytes, target_names
from dl2cli.variants.quality_list import Listed, read_quality_list
from dl2cli.variants.state import State, open_state
from dl2cli.variants.worker import (
    Done,
    EncodeConfig,
    EncodeTask,
    convert_file,
    crashed,
    start,
)

OnProgress = Callable[[VariantsProgress], None]
OnNote = Callable[[str], None]
_CHUNK: Final = 8  # files that a worker takes at once
_COMMIT_S: Final = 5.0  # what is lost of a run that is killed


def plan(config: VariantsConfig) -> VariantsPlan:
    """Say what `convert` would do, and write nothing. Raises as `convert` does for the source."""
    _check(config)
    found = make_plan(config)
    _listed(config, found)
    return VariantsPlan(
        source=config.source,
        out=config.out,
        variants=tuple(config.name_of(target) for target in config.targets),
        images=len(found.files),
        classes=found.classes,
        ignored=found.ignored,
        notes=found.notes,
    )


def convert(
    config: VariantsConfig, on_progress: OnProgress | None = None, on_note: OnNote | None = None
) -> VariantsResult:
    """Make variants of an ImageFolder, or go on with what was interrupted.

    Raises:
        UsageError: the options, or what is at `out`, do not allow it.
        DataError: `source` is not an ImageFolder; or a file is bad, with `on_error="fail"`.
        StorageError: the disk is full, or the system refused otherwise; what is done is kept.
        Interrupted: Ctrl-C; what is done is kept.
    """
    _check(config)
    found = make_plan(config)
    listed = _listed(config, found)
    notes: list[str] = []

    def note(sentence: str) -> None:
        notes.append(sentence)
        if on_note is not None:
            on_note(sentence)

    for sentence in found.notes:
        note(sentence)
    with storage_errors(config.out, force=config.force), locked(config.out, on_note=note):
        run = _VariantsRun(config, found, listed, on_progress or (lambda _: None))
        run.execute()
        variants = tuple(run.publish(note))
    return VariantsResult(
        source=config.source,
        variants=variants,
        source_images=len(found.files),
        source_bytes=source_bytes(config.source, found.files),
        classes=found.classes,
        converted_images=run.converted,
        seconds=run.seconds,
        ignored=found.ignored,
        notes=tuple(notes),
    )


def _check(config: VariantsConfig) -> None:
    if not config.targets:
        raise UsageError("Name at least one quality, or there is no variant to make.")
    check_available(config.targets)
    check_max_side(config.max_side)
    source, out = config.source.resolve(), config.out.resolve()
    if out == source or source in out.parents:
        raise UsageError(
            f"{config.out} lies inside {config.source}, which is only ever read; "
            "choose a folder outside of it."
        )


def _listed(config: VariantsConfig, found: Plan) -> dict[str, Listed]:
    """Read the list of qualities. Raises UsageError where it is one of other files."""
    if config.quality_list is None:
        return {}
    listed = read_quality_list(config.quality_list)
    if not any(file.name in listed for file in found.files):
        raise UsageError(
            f"{config.quality_list} lists none of the files of {config.source}: was it made of "
            "another folder?"
        )
    return listed


class _VariantsRun:
    """One run: what is to be done for which variant, and what was done."""

    def __init__(
        self, config: VariantsConfig, plan: Plan, listed: dict[str, Listed], tell: OnProgress
    ) -> None:
        self.config = config
        self.plan = plan
        self.listed = listed
        self.converted = 0
        self.stale = 0
        self.seconds = 0.0
        self._tell = tell
        self._began = time.perf_counter()
        self._bytes = self._rejected = 0
        self.folders = [
            prepare(
                config.out, config.name_of(target), settings, force=config.force,
                resume=config.resume,
            )
            for target, settings in zip(config.targets, self._settings(), strict=True)
        ]  # fmt: skip
        self.finished: list[set[str]] = []
        for folder in self.folders:
            with open_state(folder.current) as state:
                self.finished.append(state.finished())

    def _settings(self) -> Iterator[dict[str, Any]]:
        """Yield for each target what decides its bytes; a resumed run must agree with it."""
        config = self.config
        listed = None
        if config.quality_list is not None:
            listed = hashlib.sha256(repr(sorted(self.listed.items())).encode("utf-8", "replace"))
        for target in config.targets:
            yield {
                **target.settings(),
                "source_fingerprint": self.plan.fingerprint,
                "max_side": config.max_side,
                "percent": config.percent,
                "fraction_seed": config.fraction_seed,
                "keep_metadata": config.keep_metadata,
                "samples": config.samples,
                "limits": [config.limits.max_pixels, config.limits.max_bytes],
                "quality_list": listed and listed.hexdigest(),
            }

    def execute(self) -> None:
        """Make every file that is not there yet; raises as `convert`."""
        config = self.config
        for folder in self.folders:
            for name in () if folder.complete else self.plan.folders:
                (folder.working / name).mkdir(parents=True, exist_ok=True)
        tasks = list(self._tasks())
        resumed = len(self.plan.files) - len(tasks)
        pool: OrderedPool[EncodeTask, Done] = OrderedPool(
            convert_file,
            crashed,
            workers=max(1, min(config.workers, -(-len(tasks) // _CHUNK))),
            start=start,
            config=EncodeConfig(
                source=config.source,
                targets=config.targets,
                folders=tuple(folder.current for folder in self.folders),
                max_side=config.max_side,
                keep_metadata=config.keep_metadata,
                max_pixels=config.limits.max_pixels,
            ),
        )
        waiting: list[Done] = []
        stored = time.perf_counter()
        try:
            self._report(resumed)
            for done in pool.map(_chunks(tasks)) if tasks else ():
                self._look_at(done)
                waiting.append(done)
                self.converted += 1
                self._report(resumed)
                if time.perf_counter() - stored > _COMMIT_S:
                    self._store(waiting)
                    stored = time.perf_counter()
        finally:
            self._store(waiting)
            self.seconds = time.perf_counter() - self._began
            if self.converted:
                self._add_seconds()

    def _tasks(self) -> Iterator[EncodeTask]:
        """Yield what is to be done."""
        files = self.plan.files
        measured = sample(files, self.config.samples)
        names = [target_names(files, target.format) for target in self.config.targets]
        for place, file in enumerate(files):
            outputs = tuple(
                (index, names[index][place])
                for index, finished in enumerate(self.finished)
                if file.name not in finished and not self.folders[index].complete
            )
            if outputs:
                listed = self.listed.get(file.name)
                yield EncodeTask(file.path, file.name, outputs, file.name in measured, listed)

    def _look_at(self, done: Done) -> None:
        self.stale += done.stale
        errors = [each.error for each in done.outcomes if each.error is not None]
        self._rejected += bool(errors)
        self._bytes += sum(each.bytes for each in done.outcomes)
        if done.missing and not self.config.source.is_dir():
            raise StorageError(
                f"{self.config.source} is no longer there: was a share unmounted? Run the same "
                "command again once it is back."
            )
        if errors and self.config.on_error == "fail":
            raise DataError(
                f"{done.name}: {errors[0]}. Mend it and run the same command again, or use "
                "--on-error skip."
            )

    def _store(self, waiting: list[Done]) -> None:
        if waiting:
            sync_file_system(self.config.out)
        for index, folder in enumerate(self.folders):
            found = [(d, o) for d in waiting for o in d.outcomes if o.target == index]
            if found:
                with open_state(folder.current) as state:
                    state.add(found)
        waiting.clear()

    def _add_seconds(self) -> None:
        for folder in self.folders:
            if not folder.complete:
                with open_state(folder.current) as state:
                    state.store(seconds=state.settings().get("seconds", 0.0) + self.seconds)

    def _report(self, resumed: int) -> None:
        self._tell(
            VariantsProgress(
                done=resumed + self.converted,
                resumed=resumed,
                images=len(self.plan.files),
                output_bytes=self._bytes,
                rejected=self._rejected,
            )
        )

    def publish(self, note: OnNote) -> Iterator[VariantResult]:
        """Give the variants their names, write their logs, and yield what they are."""
        config = self.config
        if self.stale:
            note(
                f"{self.stale:,} files are not as long as {config.quality_list} says, so they have "
                "changed since it was made: they were encoded."
            )
        shared = sum(not folder.complete for folder in self.folders)
        turned = 0
        for target, folder, finished in zip(
            config.targets, self.folders, self.finished, strict=True
        ):
            with open_state(folder.current) as state:
                images, _, _, _, _, turned_here = state.totals()
                if not images:
                    raise DataError(_all_rejected(config, state))
                turned = max(turned, turned_here if target.format == "jpeg2000" else 0)
            published = folder if folder.complete else folder.publish()
            with open_state(published.out) as state:
                yield self._result(published, state, len(finished), shared)
        if turned:
            note(
                f"{turned:,} images have an EXIF orientation, which JPEG 2000 does not keep: they "
                "are shown as they are stored."
            )

    def _result(
        self, folder: VariantFolder, state: State, resumed: int, shared: int
    ) -> VariantResult:
        images, copied, size, pixels, seconds, _ = state.totals()
        measured = state.measured()
        decibels = [each for _, each in measured if each is not None]
        where = self.config.log or self.config.out / "logs"
        log = log_file(where, folder.name)
        if resumed < len(self.plan.files) or not log.is_file():
            write_log(log, self.config, state, shared=shared)
        return VariantResult(
            name=folder.name,
            out=folder.out,
            images=images,
            copied=copied,
            output_bytes=size,
            bits_per_pixel=size * 8 / max(pixels, 1),
            encode_s=seconds,
            ms_ssim=_mean([alike for alike, _ in measured]),
            psnr_db=_mean(decibels),
            measured=len(measured),
            rejected=state.rejected(),
            resumed_images=resumed,
            log=log,
        )


def _chunks(tasks: Sequence[EncodeTask]) -> Iterator[Sequence[EncodeTask]]:
    return (tasks[place : place + _CHUNK] for place in range(0, len(tasks), _CHUNK))


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _all_rejected(config: VariantsConfig, state: State) -> str:
    first = state.rejected()[0]
    return (
        f"{config.source}: every image was rejected, the first one ({first.path}) because of "
        f"this: {first.reason}. Once they are mended, --force converts anew."
    )
