"""``python -m voicegate.worker``: one worker, talking to its supervisor on stdio."""

from voicegate.worker.process import main

if __name__ == "__main__":
    main()
