"""Run logs become tables, plots and one HTML page.

`discover` finds logs by content and hands each to its reader (`training_log`, `documents`,
`diskio`, `bench_log`, `quality_list`), `assemble` makes one `model.Corpus` of what they found,
`metrics` holds the definitions, `entries` and `compare` apply them, and `report` puts all of it
into one `Report`, of which terminal, CSV, JSON, plots and page are renderings.
"""
