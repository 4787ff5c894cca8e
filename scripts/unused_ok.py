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
_.fetch  # pydantic
_.shared  # pydantic
_.otlp  # pydantic
_.telemetry  # pydantic
_.cache_read  # pydantic
_.cache_write  # pydantic
_.cache_write_1h  # pydantic
_.input_audio  # pydantic
_.input_image  # pydantic
_.output_audio  # pydantic
_.output_image  # pydantic
_.guards  # pydantic
_.system_file  # pydantic

# Fields of canonical values: read by name, through the tables of a dialect.
_.temperature
_.top_p
_.top_k
_.frequency_penalty
_.presence_penalty
_.end_user
_.verbosity
_.prediction
_.cache_key
_.stop_sequence
_.cache_write_1h_tokens
_.estimated
_.embedding
# Fields that a usual chunk of a stream may have: named so that it is known to hold nothing else.
_.reasoning_content
_.function_call
_.obfuscation
_.item_id
# Fields of a log line: written by msgspec.
_.ms
_.waited_ms
_.request_id
_.upstream_ms
_.losses_not_shown
_.cost_usd
# Read or called by libraries.
_.attempt_number  # tenacity
_.output_size  # aiohttp
_._exception  # aiohttp
_.feed_data  # aiohttp
_.feed_eof  # aiohttp
_.handle_error  # aiohttp
_.collect  # prometheus-client
_.down_revision  # alembic
# What the library offers to programs that import it.
fold
# Held so that the loop does not forget a running task.
_._beating
# Compared with the metrics' labels by a test.
REASONS
# The other half of a reader, for fakes of upstreams and for whoever writes such a stream.
encode_frame
