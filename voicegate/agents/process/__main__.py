"""``python -m voicegate.agents.process``: the process of an agent, talked to over the socket it inherits."""

from voicegate.agents.process.host import main

if __name__ == "__main__":
    main()
