"""Settings of the whole suite."""

import os
from collections import Counter

from hypothesis import HealthCheck, Phase, settings

settings.register_profile(
    "crossent",
    deadline=None,
    database=None,
    derandomize=True,
    max_examples=20,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.register_profile(
    "long",
    deadline=None,
    database=None,
    max_examples=1000,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.register_profile("quick", settings.get_profile("crossent"), max_examples=5)  # the suite once more
settings.register_profile(  # one failure is enough: docs/scripts/mutation.py wants no smallest example
    "mutation",
    settings.get_profile("quick"),
    phases=[Phase.explicit, Phase.generate],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "crossent"))


DOCUMENTED = (  # what test_docs.py records
    "blocks run",
    "blocks with other libraries run",
    "outputs compared",
    "examples of docstrings",
)


def pytest_terminal_summary(terminalreporter):
    """Say how much of the documentation was run: green says little of tests that found nothing to run."""
    totals = Counter()
    for report in terminalreporter.getreports("passed"):
        totals.update({name: value for name, value in report.user_properties if name in DOCUMENTED})
    if totals:
        counts = ", ".join(f"{totals[name]} {name}" for name in DOCUMENTED if totals[name])
        terminalreporter.write_line(f"documentation: {counts}")
