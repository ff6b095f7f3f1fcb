"""Scan scripts: how the coefficients of an image are divided into scans, and so into scan groups.

The syntax is jpegtran's (`-scans`): scans end with `;`, components are separated by spaces or
commas, and `: Ss-Se, Ah, Al` gives spectral selection and successive approximation (ITU-T T.81,
annex G). `#` begins a comment. A script speaks of a YCbCr image: component 0 is luma, 1 is Cb, 2 is
Cr. Each line of the script is one scan group; other kinds of images are mapped onto the groups by
meaning (gray, RGB and CMYK components are all luma).

Beyond jpegtran's syntax, a line of AC coefficients may name several components: the standard wants
a scan for each of them, and all of these are in the line's group. And a line that begins with `+`
joins the group of the line before it, as the second line does here:

    0: 1-5, 0, 2;
    + 1,2: 1-63, 0, 3;
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from dl2cli.errors import UsageError

LAST_COEFFICIENT = 63
MAX_BIT_POSITION = 10  # libjpeg's limit for samples of 8 bits; T.81, G.1.1.1.2 says 13
MAX_SCANS = 64  # lines of a script
MAX_IMAGE_SCANS = 100  # in a colour image; readers take no more (Limits.max_scans)

_NUMBER = "[0-9]{1,9}"  # more digits than any number of a script has
_SCAN = re.compile(
    rf"\s*(?P<joins>\+?)\s*(?P<components>{_NUMBER}(?:[\s,]+{_NUMBER})*)\s*"
    rf":\s*(?P<ss>{_NUMBER})\s*-\s*(?P<se>{_NUMBER})\s*"
    rf"[\s,]\s*(?P<ah>{_NUMBER})\s*[\s,]\s*(?P<al>{_NUMBER})\s*"
)

# jpegtran's own ten scans for a YCbCr image (libjpeg's jpeg_simple_progression).
_DEFAULT = """
0,1,2: 0-0, 0, 1;
0: 1-5, 0, 2;
2: 1-63, 0, 1;
1: 1-63, 0, 1;
0: 6-63, 0, 2;
0: 1-63, 2, 1;
0,1,2: 0-0, 1, 0;
2: 1-63, 1, 0;
1: 1-63, 1, 0;
0: 1-63, 1, 0;
"""

# Every coefficient is decoded once, so the full image costs far less than with refinement scans.
_SPECTRAL = """
0,1,2: 0-0, 0, 0;
0: 1-5, 0, 0;
1: 1-63, 0, 0;
2: 1-63, 0, 0;
0: 6-20, 0, 0;
0: 21-63, 0, 0;
"""


# Gives the most quality for each byte: all components and frequencies come together from the first
# bits on, chroma a little ahead, and of a late bit the highest frequencies first. It was chosen out
# of those that searches (analysis/scripts) had led to, by PSNR and MS-SSIM of whole photos of high
# quality. It costs decode time: each bit is a scan.
_RATE = """
0,1,2: 0-0, 0, 2;
0,1,2: 1-63, 0, 4;
0,1,2: 0-0, 2, 1;
+ 0,1,2: 1-63, 4, 3;
1,2: 1-63, 3, 2;
0: 1-63, 3, 2;
1,2: 1-63, 2, 1;
0: 28-63, 2, 1;
0: 1-27, 2, 1;
0,1,2: 0-0, 1, 0;
+ 1,2: 1-63, 1, 0;
0: 1-63, 1, 0;
"""

# Decodes fast: the fewest scans that give all bits but the last.
_FAST = """
0,1,2: 0-0, 0, 0;
0: 1-9, 0, 1;
1,2: 1-63, 0, 1;
0: 10-63, 0, 1;
0,1,2: 1-63, 1, 0;
"""


@dataclass(frozen=True)
class Scan:
    """One line: components, first and last coefficient, previous and current bit position.

    `joins` says that the scan joins the group of the line before.
    """

    components: tuple[int, ...]
    ss: int
    se: int
    ah: int
    al: int
    joins: bool = False

    def __str__(self) -> str:
        components = ",".join(map(str, self.components))
        return f"{'+ ' * self.joins}{components}: {self.ss}-{self.se}, {self.ah}, {self.al};"


@dataclass(frozen=True)
class ScanScript:
    """A validated progressive script; at its end every coefficient has full precision."""

    name: str
    scans: tuple[Scan, ...]

    @property
    def groups(self) -> int:
        """The number of scan groups of a dataset made with it."""
        return sum(not scan.joins for scan in self.scans)

    @property
    def text(self) -> str:
        """The script in jpegtran's syntax."""
        return "\n".join(map(str, self.scans)) + "\n"

    @property
    def native(self) -> list[tuple[list[int], int, int, int, int, bool]]:
        """The script as the native core takes it."""
        return [(list(s.components), s.ss, s.se, s.ah, s.al, s.joins) for s in self.scans]


def parse(text: str, name: str) -> ScanScript:
    """Read a script in jpegtran's syntax. Raises UsageError that names the scan and the reason."""
    without_comments = re.sub(r"#.*", "", text)
    scans = []
    for number, part in enumerate(filter(str.strip, without_comments.split(";")), start=1):
        match = _SCAN.fullmatch(part)
        if match is None:
            raise UsageError(
                f"Scan script {name}, scan {number}: {' '.join(part.split())!r} does not have the "
                "form 'components: Ss-Se, Ah, Al', or '+' in front of that."
            )
        components = tuple(int(c) for c in re.split(r"[\s,]+", match["components"]))
        ss, se, ah, al = (int(match[key]) for key in ("ss", "se", "ah", "al"))
        scans.append(Scan(components, ss, se, ah, al, joins=bool(match["joins"])))
    script = ScanScript(name, tuple(scans))
    _validate(script)
    return script


def load(name_or_file: str) -> ScanScript:
    """Return the built-in script of that name, or the one in that file."""
    if name_or_file in BUILT_IN:
        return BUILT_IN[name_or_file]
    path = Path(name_or_file)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"Scan script {name_or_file!r} is neither {' nor '.join(BUILT_IN)} nor a readable "
            f"file: {error}."
        ) from error
    return parse(text, path.name)


def _validate(script: ScanScript) -> None:
    def fail(number: int, reason: str) -> UsageError:
        return UsageError(f"Scan script {script.name}, scan {number}: {reason}.")

    if not 1 <= len(script.scans) <= MAX_SCANS:
        raise UsageError(
            f"Scan script {script.name} has {len(script.scans)} scans, not 1 to {MAX_SCANS}."
        )
    image_scans = sum(len(scan.components) if scan.ss else 1 for scan in script.scans)
    if image_scans > MAX_IMAGE_SCANS:
        raise UsageError(
            f"Scan script {script.name} gives a colour image {image_scans} scans, and readers take "
            f"at most {MAX_IMAGE_SCANS}."
        )
    if script.scans[0].joins:
        raise fail(1, "there is no group before it that it could join")
    # The bit position that each coefficient of each component has reached; None before its first.
    reached: list[list[int | None]] = [[None] * (LAST_COEFFICIENT + 1) for _ in range(3)]
    for number, scan in enumerate(script.scans, start=1):
        reason = _scan_error(scan, reached)
        if reason is not None:
            raise fail(number, reason)
        for component in scan.components:
            for coefficient in range(scan.ss, scan.se + 1):
                reached[component][coefficient] = scan.al
    if 0 not in script.scans[0].components:
        raise fail(1, "the first scan must hold component 0, so that every image begins in group 1")
    for component, positions in enumerate(reached):
        missing = [i for i, position in enumerate(positions) if position != 0]
        if missing:
            raise UsageError(
                f"Scan script {script.name} is not lossless: component {component} never gets all "
                f"bits of coefficient {missing[0]}."
            )


def _scan_error(scan: Scan, reached: list[list[int | None]]) -> str | None:
    """Return what the standard or the mapping onto groups forbids in a scan, or None."""
    if len(set(scan.components)) != len(scan.components) or max(scan.components) > 2:
        return "components must be different ones of 0, 1, 2"
    if scan.ss > scan.se or scan.se > LAST_COEFFICIENT:
        return "coefficients run from 0 to 63"
    if scan.ss == 0 and scan.se != 0:
        return "a progressive scan holds the DC coefficient (0-0) or AC coefficients, not both"
    if scan.al > MAX_BIT_POSITION or (scan.ah != 0 and scan.al != scan.ah - 1):
        return f"Al must be at most {MAX_BIT_POSITION}, and Ah - 1 in a refinement"
    for component in scan.components:
        if scan.ss > 0 and reached[component][0] is None:
            return f"component {component} needs its DC scan first"
        for coefficient in range(scan.ss, scan.se + 1):
            before = reached[component][coefficient]
            if scan.ah == 0 and before is not None:
                return f"coefficient {coefficient} of component {component} was sent before"
            if scan.ah not in {0, before}:
                return f"coefficient {coefficient} of component {component} is not at bit {scan.ah}"
    return None


DEFAULT = parse(_DEFAULT, "default")
SPECTRAL = parse(_SPECTRAL, "spectral")
RATE = parse(_RATE, "rate")
FAST = parse(_FAST, "fast")
BUILT_IN = {script.name: script for script in (DEFAULT, SPECTRAL, RATE, FAST)}
