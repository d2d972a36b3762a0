"""Settings of the whole suite."""

import os

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
settings.register_profile(  # one failure is enough: docs/scripts/mutation.py wants no smallest example
    "mutation",
    settings.get_profile("crossent"),
    max_examples=5,
    phases=[Phase.explicit, Phase.generate],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "crossent"))
