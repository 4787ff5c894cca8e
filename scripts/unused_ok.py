# What vulture takes for dead code and is not: a line per name, with its user. Read by make check, never run.
# A name that nobody uses is deleted, not listed here.

_.__struct_config__  # msgspec

# Keys of routes.yaml: fields of the models in router/config.py, read by their names.
_.rpm  # pydantic
_.tpm  # pydantic
_.public_key  # pydantic
_.jwks_file  # pydantic
_.jwks_url  # pydantic
_.require_scopes  # pydantic
_.queue  # pydantic
_.alternation  # pydantic
_.on_invalid_json  # pydantic
_.nice  # pydantic
_.vision  # pydantic
_.weight  # pydantic
_.breaker  # pydantic
_.hedge  # pydantic
_.fetch  # pydantic
_.shared  # pydantic
_.otlp  # pydantic
_.chats  # pydantic
_.telemetry  # pydantic
_.guards  # pydantic
_.prices  # pydantic
