"""All plots of a report for its page; the plots of a large one are drawn in several processes.

A helper is this module, run as a program: it reads a report from its standard input, draws its
share of the plots, and answers on its standard output. It thus shares nothing with this process,
which may have threads and must then not fork, and no helper outlives it by more than its share.
What a helper fails to draw is drawn here.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import tempfile
from dataclasses import replace

from dl2cli.cores import usable_cores
from dl2cli.report.entries import Entry
from dl2cli.report.model import TrainingRun
from dl2cli.report.plots.canvas import InlineSvg, inline_svg
from dl2cli.report.plots.figures import all_plots
from dl2cli.report.report import Report

PLOTS_PER_PROCESS = 16  # drawing fewer takes less time than starting a process
MAX_PROCESSES = 8


def inline_plots(report: Report, processes: int | None = None) -> list[InlineSvg]:
    """Return every plot for a page, in order.

    Args:
        report: What to draw.
        processes: How many processes draw; None for one a core, and no more than save time.

    Raises:
        MissingDependency: matplotlib is not installed.
    """
    plots = all_plots(report)
    if processes is None:
        processes = min(usable_cores(), MAX_PROCESSES, len(plots) // PLOTS_PER_PROCESS)
    processes = max(1, processes)
    helpers = _start_helpers(report, processes) if processes > 1 else []
    drawn: dict[int, InlineSvg] = {}
    try:
        for number in _share(len(plots), 0, processes):
            drawn[number] = inline_svg(plots[number])
        for helper in helpers:
            drawn |= _answer(helper)
    finally:
        for helper in helpers:
            _end(helper)
    return [
        drawn[number] if number in drawn else inline_svg(plot) for number, plot in enumerate(plots)
    ]


def _share(plots: int, place: int, processes: int) -> range:
    """Return the numbers of the plots that a process draws.

    Plots of one kind, which take equally long, follow each other: every process gets some.
    """
    return range(place, plots, processes)


def _start_helpers(report: Report, processes: int) -> list[subprocess.Popen[bytes]]:
    """Start the helpers; fewer where the system has no room for more."""
    helpers: list[subprocess.Popen[bytes]] = []
    job = pickle.dumps(_without_steps(report))
    try:
        for place in range(1, processes):
            # Into a file, not a pipe: nobody waits until the helper is ready to read.
            with tempfile.TemporaryFile() as source:
                source.write(job)
                source.seek(0)
                # -P: a file in the working folder must not be imported in a module's place.
                command = [sys.executable, "-P", "-m", __name__, str(place), str(processes)]
                helpers.append(
                    subprocess.Popen(
                        command,
                        stdin=source,
                        stdout=subprocess.PIPE,
                        stderr=subprocess.DEVNULL,
                    )
                )
    except OSError:
        pass
    return helpers


def _without_steps(report: Report) -> Report:
    """Leave out the iterations, which are most of a report and which no plot shows."""
    entries = tuple(_slim(entry) for entry in report.entries)
    corpus = replace(report.corpus, runs=())
    return replace(report, tables=(), baselines={}, entries=entries, corpus=corpus)


def _slim(entry: Entry) -> Entry:
    run = entry.run
    return replace(entry, run=replace(run, steps=())) if isinstance(run, TrainingRun) else entry


def _answer(helper: subprocess.Popen[bytes]) -> dict[int, InlineSvg]:
    """Return what a helper drew; nothing where it failed."""
    data, _ = helper.communicate()
    if helper.returncode != 0:
        return {}
    drawn: dict[int, InlineSvg] = pickle.loads(data)
    return drawn


def _end(helper: subprocess.Popen[bytes]) -> None:
    helper.kill()
    helper.wait()
    if helper.stdout is not None:
        helper.stdout.close()


def _help(place: int, processes: int) -> None:
    """Draw a share of the plots, as a helper does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever else is printed must not stand in the answer
    report: Report = pickle.load(sys.stdin.buffer)
    plots = all_plots(report)
    with answer:
        share = _share(len(plots), place, processes)
        pickle.dump({number: inline_svg(plots[number]) for number in share}, answer)


if __name__ == "__main__":
    _help(int(sys.argv[1]), int(sys.argv[2]))
