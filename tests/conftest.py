from hypothesis import HealthCheck, settings

# Machines are shared and stall at times: what an example costs says nothing about what it proves.
settings.register_profile("voicegate", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("voicegate")
