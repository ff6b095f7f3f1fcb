"""A training, alone or as a rank of torchrun: gloo_run.py OPTIONS (JSON) as in `small_config`."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import torch
from train_runs import small_config

from dl2cli.errors import Dl2Error
from dl2cli.training import distributed
from dl2cli.training.fidelity.curriculum import Curriculum, parse_scans, parse_sizes
from dl2cli.training.log.events import Observer
from dl2cli.training.trainer import train


class _Trouble(Observer):
    """Stops all ranks, or ends one, after some steps; waits a while after each."""

    def __init__(self, stop_after: int | None, die_after: int | None, pause_s: float) -> None:
        self.steps = 0
        self.pause_s = pause_s
        self.stop_after = stop_after
        self.die_after = die_after

    def stepped(self, report: object) -> None:
        self.steps += 1
        time.sleep(self.pause_s)
        if self.steps == self.stop_after:
            os.kill(os.getpid(), signal.SIGTERM)
        if self.steps == self.die_after:
            os.kill(os.getpid(), signal.SIGKILL)


def gloo_threads() -> int:
    """Return how many threads of process groups there are."""
    names = (path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm"))
    return sum(name == "pt_gloo_runloop" for name in names)


def main() -> None:
    torch.set_num_threads(1)
    options = json.loads(sys.argv[1])
    rank = int(os.environ.get("RANK", "0"))
    own = options.pop("rank_only", 0) == rank
    stop_after, die_after = options.pop("stop_after", None), options.pop("die_after", None)
    distributed.RANK_TIMEOUT_S = options.pop("rank_timeout_s", distributed.RANK_TIMEOUT_S)
    pause_s = options.pop("pause_s", 0.0)
    if options.get("checkpoint_resume"):
        options["checkpoint_resume"] = Path(options["checkpoint_resume"])
    if options.get("fidelity"):  # scans and sizes
        scans, sizes = options["fidelity"]
        options["fidelity"] = Curriculum.of(parse_scans(scans), parse_sizes(sizes))
    config = small_config(Path(options.pop("data")), Path(options.pop("folder")), **options)
    trouble = _Trouble(stop_after if own else None, die_after if own else None, pause_s)
    try:
        result = train(config, [trouble])
    except Dl2Error as error:
        print(f"dl2: {error}", file=sys.stderr)
        sys.exit(int(error.exit_code))
    told = json.dumps(
        {
            "rank": rank,
            "status": result.status,
            "steps": trouble.steps,
            "gloo_threads": gloo_threads(),
        }
    )
    sys.stdout.write(
        f"{told}\n"
    )  # in one piece: print's end of line may come behind another's line


main()
