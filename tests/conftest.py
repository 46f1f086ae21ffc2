import signal

from hypothesis import HealthCheck, settings

# Machines are shared and stall at times: what an example costs says nothing about what it proves.
settings.register_profile("voicegate", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("voicegate")

# A shell's background jobs are born deaf to Ctrl-C; so would be the servers that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
