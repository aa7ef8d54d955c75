"""Settings of a tiny run, for tests that turn one of them."""

from cpu1.runs.settings import Settings

PLAN = Settings(
    run="07",
    title="",
    parent=None,
    level="byte",
    scale="demo",
    round="r1",
    seed=0,
    data="",
    data_source="",
    data_sha256="",
    steps=100,
    batch=1,
    window=4,
    rate=1.0,
)
