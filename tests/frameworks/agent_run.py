"""`python -I -S agent_run.py SOCKET FUNCTION`: one run of an agent that waits in its host."""

import json
import os
import socket
import sys

with socket.socket(socket.AF_UNIX) as host:
    host.connect(sys.argv[1])
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(("OPENAI_", "ANTHROPIC_", "HORNBEAM_"))
    }
    asked = {"function": sys.argv[2], "environment": kept, "folder": os.getcwd()}
    data = json.dumps(asked).encode() + b"\n"
    socket.send_fds(host, [data], [1, 2])
    code = host.recv(1)
sys.exit(code[0] if code else 1)
