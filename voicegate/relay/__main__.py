"""``python -m voicegate.relay``: one relay worker, spoken to on stdin and stdout by its supervisor."""

from voicegate.relay.process import main

if __name__ == "__main__":
    main()
