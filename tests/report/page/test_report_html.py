"""The page, looked at by a real browser."""

import hashlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest
from report_browser import CHROMIUM, Page, browser
from report_logs import BENCH, Training, write_json, write_training

import dl2cli
from dl2cli.report.config import ReportConfig
from dl2cli.report.page.html import Origin, render_html, write_html
from dl2cli.report.read.discover import Finder
from dl2cli.report.report import Report, build_report

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")

EVIL = [
    "</script><script>window.pwned=1</script>",
    '"><img src=x onerror="window.pwned=1">',
    "<svg onload=window.pwned=1>",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:window.pwned=1",
    "<!-- --!><img src=x onerror=window.pwned=1>",
    "]]>&lt;b&gt;",
]


def make(root: Path) -> Report:
    return build_report(Finder([root]).load(), ReportConfig())


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("logs")
    for index, quality in enumerate(("raw", "jpeg-10", "jpeg-85")):
        training = Training(
            data=f"data-hdd/imagenet/{quality}", data_s=0.05 * (index + 1), start=index + 1.0
        )
        write_training(root / f"run{index}-{quality}-hdd" / "r.json", training)
    for index, text in enumerate(EVIL):
        params = {text: text, "dataset": "imagenet", "scans": text, "note": index}
        arch = EVIL[0] if index else EVIL[1]
        training = Training(
            arch=arch, name=text, loader=text, data=f"d/{text}/raw", epochs=2,
            start=50.0 + index, params=params,
        )  # fmt: skip
        write_training(root / f"evil{index} {text.replace('/', '_')}" / "r.json", training)
    write_json(root / "bench" / "bench.json", BENCH)
    return root


@pytest.fixture(scope="module")
def html(logs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_html(make(logs), path)
    return path


@pytest.fixture(scope="module")
def chromium() -> Iterator[Page]:
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    with browser() as page:
        yield page


@pytest.fixture
def page(chromium: Page, html: Path) -> Iterator[Page]:
    chromium.resize(1280)
    chromium.scheme("light")
    chromium.complaints.clear()
    chromium.open(html)
    chromium.run("sessionStorage.clear()")
    chromium.open(html)
    yield chromium
    assert chromium.complaints == []


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.scripts = 0
        self.handlers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script" and not dict(attrs).get("type")
        for name, value in attrs:
            if name in ("src", "href", "action", "data", "poster", "srcset"):
                self.links.append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)


def test_nothing_is_loaded_from_outside_and_text_is_escaped(html: Path) -> None:
    tags = _Tags()
    text = html.read_text()
    tags.feed(text)
    assert tags.scripts == 1, "the page's own"
    assert tags.handlers == []
    assert all(link.startswith(("#", "data:")) for link in tags.links), tags.links
    assert not re.search(r"url\((?!#)", text)
    assert "{{ 7 * 7 }}" in text
    assert "49" not in re.findall(r"evil3[^<]*", text)


def test_the_page_is_the_same_each_time(tmp_path: Path) -> None:
    write_training(tmp_path / "run" / "r.json")
    origin = Origin("dl2 report logs --html page.html", datetime(2026, 1, 2, tzinfo=UTC))
    page = render_html(make(tmp_path), origin=origin)
    assert page == render_html(make(tmp_path), origin=origin)
    log = (tmp_path / "run" / "r.json").read_bytes()
    for part in ("2026-01-02 00:00:00+00:00", origin.command, str(tmp_path), dl2cli.__version__):
        assert part in page
    assert hashlib.sha256(log).hexdigest() in page


def test_it_loads_without_a_complaint_and_nothing_in_it_runs(page: Page) -> None:
    assert page.run("typeof window.pwned") == "undefined"
    assert page.run("document.querySelectorAll('main img, main iframe').length") == 0
    assert page.run("document.querySelectorAll('.tools:not([hidden])').length") >= 5
    names = page.run("[...document.querySelectorAll('#overview tbody td:first-child')]"
                     ".map(cell => cell.textContent)")  # fmt: skip
    for text in EVIL:
        assert any(text.replace("/", "_") in name for name in names)


def _column(page: Page, table: str, index: int) -> list[str]:
    return page.run(
        f"[...document.querySelectorAll('#{table} tbody tr')].filter(r => !r.hidden)"
        f".map(r => r.cells[{index}].textContent)"
    )


def _index(page: Page, table: str, start: str) -> int:
    heads = page.run(f"[...document.querySelectorAll('#{table} th')].map(h => h.textContent)")
    return next(i for i, head in enumerate(heads) if head.startswith(start))


def _press(page: Page, table: str, index: int) -> None:
    spot = page.run(
        f"(() => {{ const b = document.querySelectorAll('#{table} th button')[{index}];"
        "b.scrollIntoView({block: 'center', inline: 'center'});"
        "const r = b.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2] })()"
    )
    page.click(*spot)


def test_a_click_on_a_heading_sorts(page: Page) -> None:
    index = _index(page, "throughput", "Train rate")
    before = _column(page, "throughput", index)
    _press(page, "throughput", index)
    falling = [float(v) for v in _column(page, "throughput", index)]
    assert falling == sorted(map(float, before), reverse=True)
    assert len(set(falling)) > 2
    _press(page, "throughput", index)
    assert [float(v) for v in _column(page, "throughput", index)] == falling[::-1] or sorted(
        falling
    ) == [float(v) for v in _column(page, "throughput", index)]
    order = page.run(f"document.querySelectorAll('#throughput th')[{index}].ariaSort")
    assert order == "ascending"


def test_unknown_values_sort_last_both_ways(page: Page) -> None:
    index = _index(page, "throughput", "Speed-up")
    for _ in range(2):
        _press(page, "throughput", index)
        cells = _column(page, "throughput", index)
        known = [cell for cell in cells if cell]
        assert known
        assert cells == known + [""] * (len(cells) - len(known))


def test_words_filter_rows_and_reloading_keeps_them(page: Page, html: Path) -> None:
    page.run("document.querySelector('#overview input[type=search]').focus()")
    page.type("JPEG hdd")
    assert _column(page, "overview", 0) == ["run1-jpeg-10-hdd", "run2-jpeg-85-hdd"]
    assert page.run("document.querySelector('#overview output').textContent").startswith("2 of ")
    page.open(html)
    assert len(_column(page, "overview", 0)) == 2


def test_all_columns_can_be_shown(page: Page) -> None:
    visible = "[...document.querySelectorAll('#overview th')].filter(h => h.offsetWidth).length"
    few = page.run(visible)
    page.run("document.querySelector('#overview input[type=checkbox]').click()")
    assert page.run(visible) > few


def test_every_digit_is_there_to_hover(page: Page, logs: Path) -> None:
    table = make(logs).table("throughput")
    assert table is not None
    stalls = {repr(r["stall_frac"]) for r in table.records()}
    shown = page.run("[...document.querySelectorAll('#throughput td')].map(c => c.dataset.v)")
    assert stalls <= set(shown)


def test_plots_tell_their_values_to_a_pointer_and_to_a_keyboard(page: Page) -> None:
    figure = "document.querySelector('#plot-stalls')"
    box = page.run(
        f"(() => {{ {figure}.scrollIntoView(); const r = {figure}.querySelector('svg')"
        ".getBoundingClientRect(); return [r.x, r.y, r.width, r.height] })()"
    )
    page.move(box[0] + box[2] * 0.5, box[1] + box[3] * 0.5)
    assert "an iteration" in page.run(f"{figure}.querySelector('.tip').textContent")
    assert page.run(f"{figure}.querySelector('.tip').hidden") is False
    page.run(f"{figure}.focus()")
    page.key("Escape")
    assert page.run(f"{figure}.querySelector('.tip').hidden") is True
    said = set()
    for _ in range(3):
        page.key("ArrowRight")
        said.add(page.run(f"{figure}.querySelector('.tip').textContent"))
    assert len(said) == 3


@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_a_phone_and_a_desk(page: Page, html: Path, width: int, tmp_path: Path) -> None:
    page.resize(width)
    page.open(html)
    assert page.run("document.documentElement.scrollWidth") <= width
    boxes = "[...document.querySelectorAll('.scroll, .plot')]"
    cut = f"{boxes}.filter(e => e.scrollWidth > e.clientWidth)"
    assert page.run(f"{cut}.map(e => e.getAttribute('aria-label'))") == []
    if width < 600:
        card = "document.querySelector('#throughput tbody td.n:not(.m)')"
        shown = f"getComputedStyle({card}, '::before').content"
        assert page.run(shown) == '"Rate (img/s)"'
    page.full_screenshot(tmp_path / "shot.png")
    from PIL import Image

    with Image.open(tmp_path / "shot.png") as image:
        assert image.width == width
        colours = image.convert("RGB").resize((100, 400)).getcolors(40_000)
    assert colours is not None
    assert len(colours) > 50, "there is something on the picture"


def test_dark_and_light(page: Page) -> None:
    ink = "getComputedStyle(document.querySelector('.plot svg text')).fill"
    paper = "getComputedStyle(document.body).backgroundColor"
    light = (page.run(paper), page.run(ink))
    page.scheme("dark")
    dark = (page.run(paper), page.run(ink))
    assert light[0] == "rgb(255, 255, 255)"
    assert len({*light, *dark}) == 4, "paper and ink both change"


def test_it_prints_in_full(page: Page, tmp_path: Path) -> None:
    page.pdf(tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")


def test_watching_pages_load_themselves_again(tmp_path: Path) -> None:
    write_training(tmp_path / "run" / "r.json", Training(validate=False))
    report = make(tmp_path)
    assert '<meta http-equiv="refresh" content="1">' in render_html(report, refresh_s=0.2)
    assert "refresh" not in render_html(report)
