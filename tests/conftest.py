from hypothesis import settings

# Machines are shared and slow at times: what an example costs says nothing about what it proves.
settings.register_profile("voicegate", deadline=None)
settings.load_profile("voicegate")
