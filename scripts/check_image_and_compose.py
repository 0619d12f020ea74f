"""Checks of the image's build context, of docker-compose.yml and of the settings that deployment files
name. scripts/check-deploy runs it in its environment, with the path of docker-compose as its argument.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
DEPLOYED = ("docker-compose.yml", "docker-compose.redis.yml", ".env.example", "deploy", "helm", "docs/deploy.md")


def names_of(table, prefix="CREEL"):
    for key, value in table.items():
        name = f"{prefix}_{key.upper()}" if prefix == "CREEL" else f"{prefix}__{key.upper()}"
        yield from names_of(value, name) if isinstance(value, dict) else [name]


def unknown_settings():
    """Variables in deployment files that are no setting (a setting's table may stand for it)."""
    known = set(names_of(tomllib.loads((ROOT / "src/config.default.toml").read_text())))
    files = [f for top in DEPLOYED for f in ([ROOT / top] if (ROOT / top).is_file() else (ROOT / top).rglob("*"))]
    for file in filter(pathlib.Path.is_file, files):
        for name in set(re.findall(r"\bCREEL_[A-Z]+__[A-Z_]*[A-Z]\b", file.read_text())):
            if name not in known and name != "CREEL_SECTION__KEY":
                yield f"{file.relative_to(ROOT)}: {name} is no setting"


def left_out_of_the_context():
    """Files that the binary embeds must be in the build context."""
    allowed = set(re.findall(r"^!(\S+)", (ROOT / ".dockerignore").read_text(), re.M))
    for source in (ROOT / "src").rglob("*.rs"):
        text = source.read_text()
        found = [(source.parent, p) for p in re.findall(r'include_(?:str|bytes)!\(\s*"([^"]+)"', text)]
        found += [(ROOT, p) for p in re.findall(r'(?:embed_migrations!\(\s*|folder\s*=\s*)"([^"$]+)"', text)]
        for base, path in found:
            full = (base / path).resolve()
            if not full.is_relative_to(ROOT):
                continue
            own = full.relative_to(ROOT)
            if not {str(part) for part in (own, *own.parents)} & allowed:
                yield f"{source.relative_to(ROOT)} embeds {path}, which .dockerignore leaves out"


def compose(tool, env):
    """The configuration as docker compose sees it, or what it says against it."""
    with tempfile.NamedTemporaryFile("w", suffix=".env") as file:
        file.write(env)
        file.flush()
        command = [tool, "--env-file", file.name]
        # A developer's own override is not looked at.
        command += [] if re.search("^COMPOSE_FILE=", env, re.M) else ["-f", "docker-compose.yml"]
        clean = {k: v for k, v in os.environ.items() if not re.match(r"CREEL|COMPOSE|POSTGRES|BROKER|RABBIT", k)}
        done = subprocess.run([*command, "config", "--format", "json"], capture_output=True, text=True, env=clean, cwd=ROOT)
    return (json.loads(done.stdout), "") if done.returncode == 0 else (None, done.stderr)


def settled(**extra):
    """.env.example as somebody would fill it in; keys given here are uncommented too."""
    values = {"CREEL_AUTH__TOKENS": "0123456789abcdef", "POSTGRES_PASSWORD": "dbpw", "BROKER_PASSWORD": "brpw"}
    lines = []
    for line in (ROOT / ".env.example").read_text().splitlines():
        match = re.match(r"#?([A-Z_]+)=(.*)", line)
        if match and match[1] in extra:
            line = f"{match[1]}={match[2] if extra[match[1]] is True else extra[match[1]]}"
        elif match and match[1] in values:
            line = f"{match[1]}={values[match[1]]}"
        lines.append(line)
    return "\n".join(lines) + "\n"


def wrong(config, broker, nodes):
    services = config["services"]
    node, nginx = services["creel"], services["nginx"]
    if node.get("container_name") or node.get("ports"):
        yield "creel cannot be scaled: it has a container name or a published port"
    if node["deploy"]["replicas"] != nodes:
        yield f"{node['deploy']['replicas']} nodes instead of {nodes}"
    published = [name for name, service in services.items() if service.get("ports")]
    if published != ["nginx"] or len(nginx["ports"]) != 1:
        yield f"not one published port: {published}"
    address = nginx["networks"]["edge"]["ipv4_address"]
    if node["environment"]["CREEL_SERVER__TRUSTED_PROXIES"] != address:
        yield "the trusted proxy is not nginx"
    [network] = config["networks"]["edge"]["ipam"]["config"]
    outer = re.search(r"^#?CREEL_SERVER__TRUSTED_PROXIES=(.*)", (ROOT / ".env.example").read_text(), re.M)[1]
    places = [place.rpartition(".")[2] for place in (address, network.get("gateway", ""))]
    if [proxy.rpartition(".")[2] for proxy in outer.split(",")] != places:
        yield f".env.example names {outer} as proxies, which are not nginx and the gateway"
    if node["environment"]["CREEL_BROKER__URL"] != broker:
        yield f"broker is {node['environment']['CREEL_BROKER__URL']}"
    host = re.search(r"@([a-z]+)", broker)[1]
    for name in ("postgres", host):
        if node["depends_on"].get(name, {}).get("condition") != "service_healthy" or "healthcheck" not in services[name]:
            yield f"creel does not wait for {name}"
    if set(node["depends_on"]) != {"postgres", host}:
        yield f"creel waits for {sorted(node['depends_on'])}"
    if set(services) != {"creel", "nginx", "postgres", host}:
        yield f"runs {sorted(services)}"
    if not config["networks"]["backend"].get("internal"):
        yield "the databases' network has a way out"


def compose_problems(tool):
    for case, env, broker, nodes in (
        ("RabbitMQ", settled(), "amqp://creel:brpw@rabbitmq:5672/%2f", 2),
        ("Redis", settled(COMPOSE_FILE=True), "redis://default:brpw@redis:6379", 2),
        ("four nodes, another network", settled(CREEL_REPLICAS="4", CREEL_SUBNET="10.9.8"), "amqp://creel:brpw@rabbitmq:5672/%2f", 4),
    ):
        config, error = compose(tool, env)
        problems = [error.strip()] if config is None else list(wrong(config, broker, nodes))
        yield f"compose: {case}", problems
    for name in ("CREEL_AUTH__TOKENS", "POSTGRES_PASSWORD", "BROKER_PASSWORD"):
        config, error = compose(tool, settled(**{name: ""}))
        ok = config is None and name in error and "set it in .env" in error
        yield f"compose: refuses to start without {name}", [] if ok else [error or "not refused"]


def main():
    tool = sys.argv[1] if len(sys.argv) > 1 else None
    results = [
        ("settings named in deployment files exist", list(unknown_settings())),
        ("the image's build context holds what the binary embeds", list(left_out_of_the_context())),
    ]
    if tool:
        results += compose_problems(tool)
    for name, problems in results:
        print(f"{'FAILED ' if problems else 'ok     '} {name}")
        for problem in problems:
            print(f"        {problem}")
    return 1 if any(problems for _, problems in results) else 0


if __name__ == "__main__":
    sys.exit(main())
