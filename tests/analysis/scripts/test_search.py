"""Searches on small photos: what they find, that they find it again, and what they measure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dl2cli.analysis.fidelity.images import parse_comparisons
from dl2cli.analysis.scripts import search as search_module
from dl2cli.analysis.scripts.objective import Goal, Metric, Objective
from dl2cli.analysis.scripts.plot import write_plot
from dl2cli.analysis.scripts.result import ScriptReport
from dl2cli.analysis.scripts.run import ScriptSearchConfig, SearchProgress, search_scripts
from dl2cli.errors import DataError, Interrupted, UsageError
from dl2cli.pcr.scan_script import load, parse
from dl2cli_native import _core


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at fewer scripts than a user's search does."""
    monkeypatch.setattr(search_module, "ROUNDS", 2)
    monkeypatch.setattr(search_module, "STEPS", 400)
    monkeypatch.setattr(search_module, "POLISH_ROUNDS", 2)


def config(root: Path, **options: object) -> ScriptSearchConfig:
    settings: dict[str, object] = {"size": 64, "samples": 20, "workers": 2, **options}
    return ScriptSearchConfig(root, **settings)  # type: ignore[arg-type]


def same(a: ScriptReport, b: ScriptReport) -> bool:
    return (a.found, a.others, a.scripts_looked_at) == (b.found, b.others, b.scripts_looked_at)


def test_a_search_finds_what_is_better_and_finds_it_again(mixed_photos: Path) -> None:
    report = search_scripts(config(mixed_photos))
    script = parse(report.found.text, "found")
    assert script.groups == len(report.found.levels) <= 10
    assert report.found.score_db >= max(other.score_db for other in report.others)
    assert [other.name for other in report.others] == ["default", "spectral", "rate", "fast"]
    assert report.images == 8
    assert sum(report.left_out.values()) == 2  # a CMYK image, and one that is cut short
    assert any("CMYK" in reason for reason in report.left_out)
    assert same(report, search_scripts(config(mixed_photos, workers=1)))
    assert not same(report, search_scripts(config(mixed_photos, seed=1)))


def test_bytes_are_those_of_a_conversion(mixed_photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "one" / "class"
    folder.mkdir(parents=True)
    jpeg = (mixed_photos / "class1" / "3.jpg").read_bytes()
    (folder / "3.jpg").write_bytes(jpeg)
    report = search_scripts(config(folder.parent, size=0))
    for curve in (report.found, *report.others):
        script = parse(curve.text, curve.name)
        fragments = _core.transcode(jpeg, script.native).fragments
        sizes = np.cumsum([len(fragment) for fragment in fragments])
        assert [level.mean_bytes for level in curve.levels] == sizes.tolist()
        assert curve.levels[-1].psnr_db is None and curve.levels[-1].ms_ssim == 1


def test_an_interrupted_search_goes_on(mixed_photos: Path, tmp_path: Path) -> None:
    class Stops(SearchProgress):
        def advance(self, done: int, note: str = "") -> None:
            if note and done == 2:
                raise KeyboardInterrupt

    class Counts(SearchProgress):
        count = 0

        def resumed(self, count: int) -> None:
            self.count = count

    file = tmp_path / "photos.scans"
    with pytest.raises(Interrupted, match="run the same command again"):
        search_scripts(config(mixed_photos, script_file=file), Stops())
    part = tmp_path / "photos.scans.part"
    assert part.exists() and not file.exists()
    with part.open("ab") as stream:
        stream.write(b'{"state": "00')  # a kill in the middle of a line
    counts = Counts()
    report = search_scripts(config(mixed_photos, script_file=file), counts)
    assert counts.count == report.states_resumed > 10
    assert not part.exists()
    assert load(str(file)).text == report.found.text
    assert same(report, search_scripts(config(mixed_photos)))


def test_measurements_of_another_size_are_not_taken(mixed_photos: Path, tmp_path: Path) -> None:
    class Stops(SearchProgress):
        def advance(self, done: int, note: str = "") -> None:
            if note:
                raise KeyboardInterrupt

    file = tmp_path / "photos.scans"
    with pytest.raises(Interrupted):
        search_scripts(config(mixed_photos, script_file=file), Stops())
    report = search_scripts(config(mixed_photos, script_file=file, size=48))
    assert report.states_resumed == 0


def test_few_groups_and_a_target(mixed_photos: Path) -> None:
    target = Objective(target=0.9)
    report = search_scripts(config(mixed_photos, max_groups=3, objective=target))
    assert len(report.found.levels) <= 3
    assert report.target_scans is not None
    assert report.found.levels[report.target_scans - 1].ms_ssim >= 0.9
    assert any("reaches a mean MS-SSIM of 0.9" in sentence for sentence in report.sentences)


@pytest.mark.parametrize("goal", [Goal.DECODE, Goal.BOTH])
def test_decode_time_costs(mixed_photos: Path, goal: Goal) -> None:
    by_time = search_scripts(config(mixed_photos, objective=Objective(goal, Metric.PSNR)))
    by_bytes = search_scripts(config(mixed_photos, objective=Objective(metric=Metric.PSNR)))
    assert (
        by_time.found.levels[-1].decode_ms_estimate < by_bytes.found.levels[-1].decode_ms_estimate
    )


def test_lossy_formats_and_the_plot(mixed_photos: Path, tmp_path: Path) -> None:
    comparisons = parse_comparisons(["jpeg:30,90", "webp:50"])
    report = search_scripts(config(mixed_photos, comparisons=comparisons))
    assert [e.setting for e in report.lossy] == ["jpeg:30", "jpeg:90", "webp:50"]
    assert report.lossy[0].mean_bytes < report.lossy[1].mean_bytes
    assert report.lossy[0].ms_ssim < report.lossy[1].ms_ssim < 1
    path = write_plot(report, "photos", tmp_path, "svg")
    assert "encoded anew" in path.read_text()


def test_what_cannot_be_searched_is_said(mixed_photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="3 to 64"):
        config(mixed_photos, max_groups=2)
    with pytest.raises(UsageError, match="32 to"):
        config(mixed_photos, size=5)
    with pytest.raises(UsageError, match="above 0 and below 1"):
        config(mixed_photos, objective=Objective(target=30))
    cut = tmp_path / "cut" / "a"
    cut.mkdir(parents=True)
    (cut / "x.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing")
    with pytest.raises(DataError, match="no image on which scripts can be judged"):
        search_scripts(config(cut.parent))


def test_a_pcr_dataset_is_searched_as_its_source(mixed_photos: Path, tmp_path: Path) -> None:
    from dl2cli.pcr.config import ConvertConfig
    from dl2cli.pcr.convert import convert

    convert(ConvertConfig(mixed_photos, tmp_path / "out", workers=2, shuffle=False))
    ours = search_scripts(config(tmp_path / "out"))
    assert ours.images == 8
    by_name = {other.name: other for other in search_scripts(config(mixed_photos)).others}
    for other in ours.others:
        assert other.levels[-1].mean_bytes == pytest.approx(
            by_name[other.name].levels[-1].mean_bytes
        )
