"""What every test shares: kernels compiled from these very sources, and one profile for property tests."""

from hypothesis import HealthCheck, settings

from market.kernel_cache import set_kernel_cache

set_kernel_cache()
settings.register_profile(
    "trireme", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("trireme")
