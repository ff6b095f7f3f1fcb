"""Random scan scripts for property tests: any that a search could come up with, and more."""

from __future__ import annotations

from hypothesis import strategies as st

from dl2cli.pcr.scan_script import Scan, ScanScript


@st.composite
def scan_scripts(draw: st.DrawFn) -> ScanScript:
    """Draw a lossless progressive script with its grouping."""
    dc = draw(st.sampled_from([((0, 1, 2),), ((0,), (1, 2)), ((0,), (2,), (1,))]))
    chains: list[list[Scan]] = []  # scans of which each needs the one before it
    for components in dc:
        chains.append(_refined(components, 0, 0, draw(st.integers(0, 2))))
    owners = {c: chains[i][0] for i, components in enumerate(dc) for c in components}
    together = draw(st.booleans())
    for components in [(0,), (1, 2)] if together else [(0,), (1,), (2,)]:
        borders = sorted(draw(st.sets(st.integers(2, 63), max_size=2)))
        for first, end in zip([1, *borders], [*borders, 64], strict=True):
            chains.append(_refined(components, first, end - 1, draw(st.integers(0, 4))))
    scans = [chains[0].pop(0)]
    while any(chains):
        ready = [
            chain
            for chain in chains
            if chain and (chain[0].ss == 0 or all(owners[c] in scans for c in chain[0].components))
        ]
        scans.append(draw(st.sampled_from(ready)).pop(0))
    joined = draw(st.lists(st.booleans(), min_size=len(scans), max_size=len(scans)))
    joined[0] = False
    grouped = (
        Scan(s.components, s.ss, s.se, s.ah, s.al, joins)
        for s, joins in zip(scans, joined, strict=True)
    )
    return ScanScript("random", tuple(grouped))


def _refined(components: tuple[int, ...], ss: int, se: int, al: int) -> list[Scan]:
    """Return a first scan down to bit `al`, and the refinements after it."""
    scans = [Scan(components, ss, se, 0, al)]
    return scans + [Scan(components, ss, se, bit + 1, bit) for bit in reversed(range(al))]
