"""Checks helm/creel with Helm's own SDK: scripts/check-deploy runs it in its environment.

Lints (strict) and renders every case in ci/, validates what came out against Kubernetes' schemas, holds
it against the promises of the chart that no schema knows, and wants every case in ci/refused.yaml
refused with the right words.
"""

import json
import pathlib
import re
import sys
import tomllib

import helm_python as helm
import kubernetes_validate
import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent
CHART = ROOT / "helm" / "creel"
KUBERNETES = ("1.27", "1.32", "1.37")
# Kinds of others, with no schema at hand: their form is not checked.
FOREIGN = {"ServiceMonitor"}
HOOK = "helm.sh/hook"


def overlay(base, extra):
    if not isinstance(base, dict) or not isinstance(extra, dict):
        return extra
    return {**base, **{key: overlay(base.get(key), value) for key, value in extra.items()}}


def hooks_of(item):
    return item["metadata"].get("annotations", {}).get(HOOK, "").split(",")


def is_hook(item):
    return HOOK in item["metadata"].get("annotations", {})


def pods_of(item):
    """Labels and specification of the pods that an object makes."""
    if item["kind"] == "Pod":
        return [(item["metadata"]["labels"], item["spec"])]
    if item["kind"] in ("Deployment", "Job"):
        template = item["spec"]["template"]
        return [(template["metadata"]["labels"], template["spec"])]
    return []


def references(container):
    for env in container.get("env", []):
        for kind, field in (("Secret", "secretKeyRef"), ("ConfigMap", "configMapKeyRef")):
            if ref := env.get("valueFrom", {}).get(field):
                yield kind, ref["name"], ref["key"]
    for source in container.get("envFrom", []):
        for kind, field in (("Secret", "secretRef"), ("ConfigMap", "configMapRef")):
            if ref := source.get(field):
                yield kind, ref["name"], None


def weight(item):
    return int(item["metadata"]["annotations"].get("helm.sh/hook-weight", "0"))


def promises(items, values):
    """What is wrong with what was rendered, in words."""
    by_name = {(item["kind"], item["metadata"]["name"], is_hook(item)): item for item in items}
    if len(by_name) != len(items):
        yield "two objects have one name"
    own_secret = values["existingSecret"]["name"]
    for item in items:
        name = f"{item['kind']}/{item['metadata']['name']}"
        if item["kind"] != "Secret" and (leak := re.search(r"s3cret-[\w-]+", json.dumps(item))):
            yield f"{name} holds {leak[0]}"
        for labels, spec in pods_of(item):
            if spec.get("enableServiceLinks") is not False or spec.get("automountServiceAccountToken") is not False:
                yield f"{name} has service links or an account's token in its pods"
            pod = spec["securityContext"]
            if pod.get("runAsNonRoot") is not True or pod["seccompProfile"]["type"] != "RuntimeDefault":
                yield f"{name} may run as root or without seccomp"
            for container in spec["containers"]:
                safe = container["securityContext"]
                if safe["capabilities"]["drop"] != ["ALL"] or not safe["readOnlyRootFilesystem"] or safe["allowPrivilegeEscalation"]:
                    yield f"{name} has privileges"
                if not container["resources"].get("requests") or "memory" not in container["resources"].get("limits", {}):
                    yield f"{name} has no requests or no memory limit"
                env = [variable["name"] for variable in container.get("env", [])]
                if len(set(env)) != len(env):
                    yield f"{name} sets a variable twice"
                for kind, target, key in references(container):
                    if kind == "Secret" and target == own_secret:
                        continue
                    found = by_name.get((kind, target, is_hook(item)))
                    if found is None:
                        yield f"{name} refers to {kind}/{target}, which is not there {'before the chart' if is_hook(item) else ''}"
                    elif key and key not in found["data"]:
                        yield f"{name} wants {key}, which {kind}/{target} has not"
                    elif is_hook(item) and (weight(found) >= weight(item) or not set(hooks_of(item)) <= set(hooks_of(found))):
                        yield f"{kind}/{target} does not come before {name}"
            if is_hook(item) and item["kind"] == "Job" and by_name.get(("ServiceAccount", spec.get("serviceAccountName"), False)):
                yield f"{name} runs under an account that is not there before the chart"
        if item["kind"] == "Deployment":
            yield from deployment_promises(item, items, values)
    jobs = [item for item in items if item["kind"] == "Job"]
    if bool(jobs) != (values["migration"]["mode"] == "job"):
        yield "the migration Job is there when it should not be, or the other way round"
    if not own_secret and not any(item["kind"] == "Secret" for item in items):
        yield "no Secret"


def deployment_promises(deployment, items, values):
    labels, spec = pods_of(deployment)[0]
    container = spec["containers"][0]
    ports = {port["name"] for port in container["ports"]}
    settings = next(item["data"] for item in items if item["kind"] == "ConfigMap")
    for name, value in settings.items():
        if not isinstance(value, str) or not re.fullmatch(r"CREEL(_+[A-Z0-9]+)+", name) or re.search(r"\de\+\d", value):
            yield f"setting {name} is {value!r}"
    needed = int(settings["CREEL_SERVER__DRAIN_MS"]) + int(settings["CREEL_SERVER__SHUTDOWN_TIMEOUT_MS"])
    if spec["terminationGracePeriodSeconds"] * 1000 <= needed:
        yield "pods are killed before they have drained"
    expected = "auto" if values["migration"]["mode"] == "startup" else "off"
    if settings["CREEL_DATABASE__MIGRATE"] != expected:
        yield f"pods migrate {settings['CREEL_DATABASE__MIGRATE']}"
    main = "api" if values["apiListener"]["enabled"] else "http"
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        if container[probe]["httpGet"]["port"] != main or main not in ports:
            yield f"{probe} asks the wrong port"
    if ("replicas" in deployment["spec"]) == values["autoscaling"]["enabled"]:
        yield "replicas and autoscaling contradict each other"
    services = {}
    for item in items:
        if item["kind"] == "Service":
            services[item["metadata"]["name"]] = item
            if not item["spec"]["selector"].items() <= labels.items():
                yield f"Service {item['metadata']['name']} selects no pod"
            if not {port["targetPort"] for port in item["spec"]["ports"]} <= ports:
                yield f"Service {item['metadata']['name']} leads to no port"
        elif item["kind"] in ("PodDisruptionBudget", "NetworkPolicy"):
            selector = item["spec"].get("selector") or item["spec"]["podSelector"]
            if not selector["matchLabels"].items() <= labels.items():
                yield f"{item['kind']} selects no pod"
        elif item["kind"] == "HorizontalPodAutoscaler" and item["spec"]["scaleTargetRef"]["name"] != deployment["metadata"]["name"]:
            yield "the autoscaler has no target"
    for item in items:
        if item["kind"] == "Ingress":
            for rule in item["spec"]["rules"]:
                for path in rule["http"]["paths"]:
                    backend = path["backend"]["service"]
                    service = services.get(backend["name"])
                    if not service or backend["port"]["name"] not in {port["name"] for port in service["spec"]["ports"]}:
                        yield f"Ingress {item['metadata']['name']} leads to no Service"
        elif item["kind"] == "ServiceMonitor":
            wanted = item["spec"]["selector"]["matchLabels"].items()
            chosen = [s for s in services.values() if wanted <= s["metadata"]["labels"].items()]
            port = item["spec"]["endpoints"][0]["port"]
            if len(chosen) != 1 or port not in {p["name"] for p in chosen[0]["spec"]["ports"]}:
                yield "the ServiceMonitor does not choose one Service"


def rendered(chart, values, **options):
    files = chart.render(values, name="rel", namespace="hooks", **options)
    documents = [
        document
        for name, text in files.items()
        if not name.endswith("NOTES.txt")
        for document in yaml.safe_load_all(text)
        if document
    ]
    notes = "".join(text for name, text in files.items() if name.endswith("NOTES.txt"))
    return documents, notes


def check_case(chart, path):
    values = yaml.safe_load(path.read_text())
    report = helm.lint(str(CHART), values, strict=True)
    yield from (m["error"] for m in report["messages"] if m["severity"] >= 2)
    yield from report.get("errors") or []
    for options in ({"is_install": True}, {"is_upgrade": True, "revision": 2}):
        items, notes = rendered(chart, values, **options)
        for item in items:
            if item["kind"] in FOREIGN:
                continue
            for version in KUBERNETES:
                try:
                    kubernetes_validate.validate(item, version, strict=True)
                except kubernetes_validate.ValidationError as error:
                    yield f"{item['kind']}/{item['metadata']['name']} (Kubernetes {version}): {error.message}"
        yield from promises(items, chart.merge_values(values))
        if leak := re.search(r"s3cret-[\w-]+", notes):
            yield f"NOTES.txt holds {leak[0]}"


def check_refused(chart):
    base = yaml.safe_load((CHART / "ci" / "minimal-values.yaml").read_text())
    for case in yaml.safe_load((CHART / "ci" / "refused.yaml").read_text()):
        try:
            chart.render(overlay(base, case["values"]), name="rel", namespace="hooks")
        except helm.HelmError as error:
            if case["says"] not in str(error):
                yield f"{case['values']}: refused, but without saying {case['says']!r}: {error}"
        else:
            yield f"{case['values']}: not refused"


def check_versions(chart):
    package = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]
    if chart.metadata["appVersion"] != package["version"]:
        yield f"Chart.yaml has appVersion {chart.metadata['appVersion']}, Cargo.toml {package['version']}"
    if "settings" in {k for k, v in (chart.schema or {}).get("properties", {}).items() if v == {"type": "object"}}:
        yield "values.schema.json was not made from the settings"


def main():
    failed = False

    def report(name, problems):
        nonlocal failed
        problems = list(dict.fromkeys(str(problem) for problem in problems))
        print(f"{'FAILED ' if problems else 'ok     '} chart: {name}")
        for problem in problems:
            print(f"        {problem}")
        failed = failed or bool(problems)

    with helm.Chart.load(str(CHART)) as chart:
        for path in sorted((CHART / "ci").glob("*-values.yaml")):
            report(f"{path.name}: lint, render, Kubernetes {', '.join(KUBERNETES)}, promises", check_case(chart, path))
        count = len(yaml.safe_load((CHART / "ci" / "refused.yaml").read_text()))
        report(f"{count} bad sets of values are refused in clear words", check_refused(chart))
        report("versions", check_versions(chart))
    print("NOT RUN: schema of ServiceMonitor (it belongs to the Prometheus operator; none at hand)")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
