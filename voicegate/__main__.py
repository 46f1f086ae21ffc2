"""``python -m voicegate`` is ``voicegate``."""

from voicegate.cli import main

if __name__ == "__main__":
    main()
