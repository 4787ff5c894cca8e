"""The chat service: `/api/v1/chat*` and `/api/v1/personas`, served when `chats:` stands in routes.yaml.

    personas    who answers: values                       rows        `chats:` of routes.yaml -> those values
    asking      what callers send, checked                prompting   persona + request -> a canonical request
    speaking    answers, streams and errors as this API writes them
    exchange    one call's life; a generation is an `Exchange` like any other
    managing    history, fetch, new, fork, pin, patch, delete
    store       what is kept, as an interface             service     opened, watched, closed
    database    that interface in SQL                     sqlite      the file that it stands in by default

Only `service` and what stands behind it need the extra `db`; they are imported when a table has `chats:`.
"""
