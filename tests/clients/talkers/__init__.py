"""What programs do with the SDKs and agents of others: one question, and the tools that it takes to answer it.

Each module talks through one library. It takes a command and tells what came of it, in-process or as a program of its
own (`python -m tests.clients.talkers.NAME`: a command per line of its input, an answer per line of its output), for
some libraries want a Python of their own. So nothing here imports what is not in all of them.

    {"door": {"url", "key"}, "model", "kind", "stream", "tools", "schema", "echo"}   the command
    {"said": text, "pieces": n, "calls": [[name, arguments], …]}                     the answer; JSON for a schema
    {"raised": {"class", "status", "message"}}                                       what the library raised
"""
