"""The command `isthmus`: what an operator says to the gateway from a shell.

A command loads only what it uses: `check` never imports the server.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
from collections.abc import Coroutine, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import click
import msgspec

from providers.canonical.prices import PART_OF, Amounts, Price, written
from router import checks, config, shares
from router.comparing import told
from router.conditions import written as written_conditions
from router.prices import price_of, targets_of
from router.settings import KeyRow, Loaded, Settings, Unit
from router.table import PolicySettings, Route, Rules, Target
from router.units import read_duration, write_duration, write_size

_FILE = click.option(
    "-c",
    "--config",
    "path",
    default="routes.yaml",
    show_default=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="the route table",
)


class _Duration(click.ParamType[float]):
    """`1h`, as in routes.yaml."""

    name = "duration"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            return read_duration(value)
        except ValueError as error:
            self.fail(str(error), parameter, context)


class _Workers(click.ParamType[str]):
    """As in routes.yaml: a number, or `auto`."""

    name = "workers"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> str:
        text = str(value)
        if text != "auto" and not (text.isascii() and text.isdigit() and 1 <= int(text) <= shares.MOST_WORKERS):
            self.fail(f"expected a number from 1 to {shares.MOST_WORKERS}, or auto", parameter, context)
        return text


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="isthmus", message="isthmus %(version)s")
def main() -> None:
    """A gateway between applications and language models."""


# ── serving and checking ───────────────────────────────────────────────────────────────────────


@main.command()
@_FILE
@click.option("--listen", metavar="HOST:PORT", help="in the place of server.listen")
@click.option("--admin", metavar="HOST:PORT", help="in the place of server.admin")
@click.option("--workers", type=_Workers(), metavar="N|auto", help="in the place of server.workers")
def serve(path: Path, listen: str | None, admin: str | None, workers: str | None) -> None:
    """Serve until a signal ends it. Exit code 2 for a file with problems."""
    _open_closed()
    loaded = config.load(path, os.environ, listen=listen, admin=admin, workers=workers)
    settings = _good(loaded)
    _print_warnings(loaded)
    if settings.workers > 1:
        from router import supervisor

        sys.exit(supervisor.run(path, settings))
    from router import server

    sys.exit(server.run(path, settings))


@main.command()
@_FILE
@click.option("--json", "as_json", is_flag=True, help="everything as one JSON object")
def check(path: Path, as_json: bool) -> None:
    """All problems and warnings of a file, and the limits in effect. Exit code 1 for problems."""
    loaded = config.load(path, os.environ)
    effective = _effective(loaded.settings) if loaded.settings else None
    if as_json:
        answer = {
            "ok": loaded.settings is not None,
            "problems": [msgspec.to_builtins(problem) for problem in loaded.problems],
            "warnings": [msgspec.to_builtins(warning) for warning in loaded.warnings],
            "effective": effective,
        }
        click.echo(json.dumps(answer, indent=2))
    else:
        for problem in loaded.problems:
            click.echo(str(problem))
        for warning in loaded.warnings:
            click.echo(f"{warning.file}:{warning.line}:{warning.column}: warning: {warning.message}")
        if effective is not None:
            click.echo("\n".join(_written(effective)))
    sys.exit(0 if loaded.settings else 1)


def _open_closed() -> None:
    """Standard streams that were closed lead nowhere: else sockets took their numbers, and libuv ends the process."""
    while (opened := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(opened, True)
    os.close(opened)
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115


def _good(loaded: Loaded) -> Settings:
    """The settings; exit code 2, with all problems, when there are none."""
    if loaded.settings is None:
        for problem in loaded.problems:
            click.echo(str(problem), err=True)
        sys.exit(2)
    return loaded.settings


def _print_warnings(loaded: Loaded) -> None:
    for warning in loaded.warnings:
        click.echo(f"{warning.file}:{warning.line}:{warning.column}: warning: {warning.message}", err=True)


def _fail(message: str) -> NoReturn:
    click.echo(message, err=True)
    sys.exit(2)


# ── what is in effect ──────────────────────────────────────────────────────────────────────────


def _effective(settings: Settings) -> dict[str, Any]:
    """What holds, defaults included, in the words of routes.yaml. Secrets are masked."""
    limits = msgspec.structs.asdict(settings.limits)
    return {
        "server": {
            "listen": _address(settings.listen),
            "admin": _address(settings.admin) if settings.admin else None,
            "admin_token": "***" if settings.admin_token else None,
            "max_body": write_size(limits.pop("max_body")),
            "workers": settings.workers,
            **({"each_worker": shares.told(settings)} if settings.workers > 1 else {}),
            "drain": write_duration(settings.drain),
            "limits": {name: _limit(name, value) for name, value in limits.items()},
        },
        "access": _access(settings),
        "policies": {name: _policy(row) for name, row in settings.policies.items()},
        "providers": {name: _provider(settings, name) for name in settings.providers},
        "models": {model.name: [_shown(target) for target in model.to] for model in settings.models},
        "prices": {name: _price(price) for name, price in _prices(settings)},
        "routes": [_route(route) for route in settings.table.routes],
        "chats": _chats(settings),
        "state": {"file": str(settings.state_file) if settings.state_file else None},
        "metrics": {"series_at_most": checks.series(settings)},
    }


def _address(address: tuple[str, int]) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _limit(name: str, value: float | int) -> str | int:
    if name in config.SIZES:
        return write_size(int(value))
    return write_duration(value) if isinstance(value, float) else value


def _access(settings: Settings) -> dict[str, Any] | None:
    access = settings.access
    if access is None:
        return None
    jwt = access.jwt
    return {
        "keys": [{"name": key.name, "models": list(key.models), **_limits_of(key)} for key in access.keys],
        "jwt": jwt
        and {
            "algorithms": list(jwt.algorithms),
            "secret": "***" if jwt.secret else None,
            "public_keys": len(jwt.public_keys) + len(jwt.jwks),
            "issuer": jwt.issuer,
            "audience": list(jwt.audience),
            "leeway": write_duration(jwt.leeway),
        },
    }


def _limits_of(key: KeyRow) -> dict[str, Any]:
    """What is limited of a key, in the words of routes.yaml."""
    limits, budget = key.limits or {}, key.budget
    words: dict[str, Unit] = {"rpm": "requests", "tpm": "tokens"}
    found: dict[str, Any] = {word: limits[unit] for word, unit in words.items() if unit in limits}
    if budget is not None:
        amounts = {coin: written(amount) for coin, amount in budget.limits().items()}
        found["budget"] = {**amounts, "per": budget.per, "unpriced": budget.unpriced}
    return found


def _chats(settings: Settings) -> dict[str, Any] | None:
    chats = settings.chats
    if chats is None:
        return None
    personas = {name: persona.model for name, persona in chats.personas.items()}
    return {"store": chats.store, "default": chats.default, "personas": personas}


def _policy(row: PolicySettings) -> dict[str, Any]:
    """All of it, as routes.yaml would say it."""
    found: dict[str, Any] = {}
    for key, value in told("", row).items():
        if key.startswith("wait_"):
            found.setdefault("wait", {})[key.removeprefix("wait_")] = value
        else:
            found[key] = value
    return found


def _provider(settings: Settings, name: str) -> dict[str, Any]:
    row = settings.providers[name]
    found = [settings.secrets.get(reference) is not None for reference in row.secrets]
    return {
        "base_url": row.base_url,
        "speaks": list(row.speaks),
        "auth": row.auth,
        "secret": ("***" if all(found) else "not set") if found else None,
        "concurrency": row.concurrency,
        **({"timeouts": {k: write_duration(v) for k, v in row.timeouts.items()}} if row.timeouts else {}),
        **({"attempts": row.attempts} if row.attempts is not None else {}),
        **({"retry_on": sorted(row.retry_on)} if row.retry_on is not None else {}),
    }


def _prices(settings: Settings) -> Iterator[tuple[str, Price]]:
    """What is in force, patterns after what they do not hold for."""
    for provider, prices in settings.prices.items():
        for model, price in (*prices.exact.items(), *prices.patterns):
            yield f"{provider}/{model}", price


def _price(price: Price) -> dict[str, Any]:
    """Amounts in the words of routes.yaml, those alone that differ from what they would be without being said."""
    (_, first), *above = price.levels
    found: dict[str, Any] = _said(first)
    if price.request is not None:
        found["request"] = written(price.request)
    if above:
        found["above"] = {str(least): _said(amounts) for least, amounts in above}
    return {**found, "source": price.source, "as_of": price.as_of}


def _said(amounts: Amounts) -> dict[str, str]:
    return {kind: written(usd) for kind, usd in amounts.items() if amounts.get(PART_OF.get(kind, "")) != usd}


def _route(route: Route) -> dict[str, Any]:
    row = {"path": route.path, "speaks": route.speaks, "to": _to(route), "policy": route.policy or "default"}
    return {**row, **_ruled(route.rules), **_cached(route)}


def _cached(route: Route) -> dict[str, Any]:
    """How answers are kept, where they are."""
    return {} if route.cache is None else {"cache": told("cache", route.cache)}


def _also(said: dict[str, Any]) -> str:
    return "".join(f"; {name}: {_flat(value)}" for name, value in said.items())


def _ruled(rules: Rules | None) -> dict[str, Any]:
    """What is said of choosing, beyond `choose`."""
    said = {} if rules is None else {"sticky": rules.sticky, "prefer": rules.prefer}
    return {name: value for name, value in said.items() if value is not None}


def _to(route: Route) -> str | list[str]:
    return route.to if isinstance(route.to, str) else [_shown(target) for target in route.to]


def _target(target: Target) -> str:
    return f"{target.provider}/{target.model or '*'}"


def _shown(target: Target) -> str:
    """With what it asks of calls."""
    return f"{_target(target)} when {written_conditions(target.when)}" if target.when else _target(target)


def _written(value: Any, indent: str = "") -> Iterable[str]:
    """Nested values as lines that read like routes.yaml: what fits on one stands on one."""
    items = value.items() if isinstance(value, dict) else [("-", item) for item in value]
    for key, item in items:
        name = key if key == "-" else f"{key}:"
        line = f"{indent}{name} {_flat(item)}"
        if key == "-" or not item or not isinstance(item, dict | list) or len(line) <= 110:
            yield line
        else:
            yield f"{indent}{name}"
            yield from _written(item, indent + "  ")


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flat(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flat, value)) + "]"
    return "null" if value is None else str(value)


# ── looking and helping ────────────────────────────────────────────────────────────────────────


@main.command()
@_FILE
def routes(path: Path) -> None:
    """A table of routes, dialects and targets."""
    settings = _good(config.load(path, os.environ))
    rows = [("PATH", "DIALECT", "TARGETS")]
    for route in settings.table.routes:
        if route.egress is not None:
            listed = ", ".join(route.egress.listed) or "none"
            rows.append((route.path, route.speaks, f"named: {listed}"))
        else:
            to = _to(route)
            also = _also(_ruled(route.rules) | _cached(route))
            rows.append((route.path, route.speaks, (to if isinstance(to, str) else ", ".join(to)) + also))
    for model in settings.models:
        also = _also(_ruled(model.rules))
        rows.append((f"  model {model.name}", "", ", ".join(_shown(target) for target in model.to) + also))
    rows += [(f"  price {name}", "", _flat(_price(price))) for name, price in _prices(settings)]
    unpriced = dict.fromkeys(
        _target(target)
        for target in targets_of(settings.models, settings.table.routes)
        if settings.prices and target.model and price_of(settings.prices, target.provider, target.model) is None
    )
    rows += [(f"  price {name}", "", "not known") for name in unpriced]
    if settings.chats is not None:
        rows.append(("/api/v1/chat*, /api/v1/personas", "chats", f"store: {settings.chats.store}"))
        for persona in settings.chats.personas.values():
            rows.append((f"  persona {persona.name}", "", persona.model))
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    for one, two, three in rows:
        click.echo(f"{one:{widths[0]}}  {two:{widths[1]}}  {three}".rstrip())


@main.command()
@_FILE
@click.option("--path", "target", required=True, help="the path of the call, with its query if it has one")
@click.option("--method", default="POST", show_default=True)
@click.option("--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="as often as needed")
@click.option("--body", type=click.File("rb"), metavar="FILE", help="the JSON body; - reads standard input")
def explain(path: Path, target: str, method: str, headers: tuple[str, ...], body: BinaryIO | None) -> None:
    """What would become of a call, without making it: route, targets, the upstream's request, losses.

    Exit code 1 for a call that would be refused. Without a credential among the headers none is asked for.
    """
    import asyncio

    from router import explain as explaining

    settings = _good(config.load(path, os.environ))
    said = dict(_header(text) for text in headers)
    if body is not None:
        said.setdefault("content-type", "application/json")
    question = explaining.Question(
        path=target, method=method, headers=said, body=body.read() if body is not None else b""
    )
    answer = asyncio.run(explaining.explain_alone(settings, question))
    click.echo(json.dumps(answer, indent=2, ensure_ascii=False))
    sys.exit(1 if "refused" in answer else 0)


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        _fail(f"isthmus: --header: expected 'NAME: VALUE', not {text!r}")
    return name.strip().lower(), value.strip()


@main.group("config")
def files() -> None:
    """Route tables as files."""


_TABLE = click.Path(path_type=Path)


@files.command("diff")
@click.argument("old", type=_TABLE)
@click.argument("new", type=_TABLE)
@click.option("--json", "as_json", is_flag=True, help="as a JSON list")
def config_diff(old: Path, new: Path, as_json: bool) -> None:
    """Which calls would go elsewhere, or be treated otherwise, if NEW took the place of OLD.

    Exit code 0 when none would, 1 when some would, 2 for a file with problems.
    """
    from router import comparing

    read = [config.load(path, os.environ) for path in (old, new)]
    problems = [problem for loaded in read for problem in loaded.problems]
    for problem in dict.fromkeys(problems):
        click.echo(str(problem), err=True)
    before, after = (loaded.settings for loaded in read)
    if before is None or after is None:
        sys.exit(2)
    changes = comparing.compare(before, after)
    if as_json:
        click.echo(json.dumps([msgspec.to_builtins(change) for change in changes], indent=2, ensure_ascii=False))
    else:
        for line in comparing.lines(changes):
            click.echo(line)
    sys.exit(1 if changes else 0)


@main.command()
def schema() -> None:
    """JSON Schema of routes.yaml, for editors."""
    click.echo(json.dumps(config.schema(), indent=2))


@main.command()
@_FILE
@click.option("--sub", required=True, help="the subject, 1 to 256 characters")
@click.option("--ttl", type=_Duration(), default="1h", show_default=True, help="how long it is good")
def token(path: Path, sub: str, ttl: float) -> None:
    """A token signed with the configured HMAC secret, for trying things out."""
    from router.access import issue_token

    settings = _good(config.load(path, os.environ))
    if settings.access is None or settings.access.jwt is None:
        _fail(f"isthmus: {path} has no access.jwt")
    if not 1 <= len(sub) <= 256:
        _fail("isthmus: --sub: expected 1 to 256 characters")
    try:
        click.echo(issue_token(settings.access.jwt, sub, ttl, time.time()))
    except ValueError as error:
        _fail(f"isthmus: {error}")


@main.group()
def key() -> None:
    """Callers' keys."""


@key.command("new")
@_FILE
@click.option("--name", required=True, help="shown in logs and metrics")
def key_new(path: Path, name: str) -> None:
    """A new key, printed once, and the row for access.keys."""
    from router.access import new_key

    if not config.is_key_name(name):
        _fail("isthmus: --name: expected at most 64 letters, digits and ._-")
    known = config.load(path, os.environ).settings if path.exists() else None
    if known and known.access and any(row.name == name for row in known.access.keys):
        _fail(f"isthmus: {path} has a key called '{name}' already")
    text, digest = new_key(secrets.token_bytes(32))
    click.echo(f"key (shown only here): {text}")
    click.echo(f'row for access.keys:   - {{name: {json.dumps(name)}, hash: "{digest}"}}')


# ── chats ──────────────────────────────────────────────────────────────────────────────────────

_OWNER = click.option(
    "--owner", required=True, help="local, key:NAME, or jwt:SUBJECT@ISSUER with both percent-encoded as in a URL"
)


@main.group()
def chats() -> None:
    """What the chat service keeps of one owner."""


@chats.command("export")
@_FILE
@_OWNER
def chats_export(path: Path, owner: str) -> None:
    """All chats of an owner, each as one line of JSON. Exit code 1 when there are none."""
    from router.chats import owners

    count = _of_store(owners.export(_store_path(path), owner, click.echo))
    sys.exit(0 if count else 1)


@chats.command("purge")
@_FILE
@_OWNER
def chats_purge(path: Path, owner: str) -> None:
    """Erase all chats of an owner, for good. Exit code 1 when there were none."""
    from router.chats import owners

    count = _of_store(owners.purge(_store_path(path), owner))
    click.echo(f"erased {count} chat{'' if count == 1 else 's'} of {owner}")
    sys.exit(0 if count else 1)


def _store_path(path: Path) -> str:
    settings = _good(config.load(path, os.environ))
    if settings.chats is None:
        _fail(f"isthmus: {path} has no chats")
    return settings.chats.path


def _of_store(work: Coroutine[Any, Any, int]) -> int:
    import asyncio

    from router.chats.owners import NoStore

    try:
        return asyncio.run(work)
    except NoStore as error:
        _fail(f"isthmus: {error}")
    except BrokenPipeError:
        raise  # whoever read has read enough
    except OSError as error:
        _fail(f"isthmus: {error.strerror or error}: not all was written")


if __name__ == "__main__":
    main(prog_name="isthmus")
