//! `deploy/kubernetes`: built by kustomize, checked against the API's schemas, looked through for what those do not mind.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use aqueduct_tests::{Folder, Script, checker, documents};
use serde_json::{Value, json};

use crate::{check, deploy, items, none, stop_timeout_s, text};

const VARIANTS: [&str; 2] = ["deployment", "stateful"];
/// What the cluster has that is not in the manifests, as the kustomization says, and its keys.
const SECRETS: [(&str, &[&str]); 2] = [
    ("kafka-client", &["ca.crt", "tls.crt", "tls.key"]),
    ("lake", &["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]),
];

/// Everything that `kubectl apply --kustomize` would send.
fn manifests(variant: &str, folder: &Folder) -> Vec<Value> {
    let built = checker(&deploy("kubernetes"), &["kustomize", "build", variant]);
    documents(&folder.write("built.yaml", &built))
}

fn of_kind<'a>(manifests: &'a [Value], kind: &str) -> Vec<&'a Value> {
    manifests.iter().filter(|manifest| text(manifest, "/kind") == kind).collect()
}

fn named<'a>(manifests: &'a [Value], kind: &str, name: &str) -> Option<&'a Value> {
    of_kind(manifests, kind).into_iter().find(|manifest| text(manifest, "/metadata/name") == name)
}

/// What runs the pods.
fn workload(manifests: &[Value]) -> &Value {
    let found =
        manifests.iter().find(|manifest| manifest.pointer("/spec/template/spec/containers").is_some());
    found.expect("a Deployment or a StatefulSet")
}

/// The config map that is mounted at /pipelines.
fn pipelines(manifests: &[Value]) -> &Value {
    let pod = &workload(manifests)["spec"]["template"]["spec"];
    let mounts = items(&pod["containers"][0]["volumeMounts"]);
    let mount = mounts.into_iter().find(|mount| text(mount, "/mountPath") == "/pipelines").expect("a mount");
    let volume = items(&pod["volumes"]).into_iter().find(|volume| volume["name"] == mount["name"]);
    let name = text(volume.expect("a volume"), "/configMap/name");
    named(manifests, "ConfigMap", name).unwrap_or_else(|| panic!("there is no config map {name}"))
}

fn findings(manifests: &[Value]) -> Vec<String> {
    let workload = workload(manifests);
    let (template, pod) = (&workload["spec"]["template"], &workload["spec"]["template"]["spec"]);
    let container = &pod["containers"][0];
    let mut found = Vec::new();
    let wanted = [
        (pod, "/automountServiceAccountToken", json!(false)),
        (pod, "/securityContext/runAsNonRoot", json!(true)),
        (pod, "/securityContext/runAsUser", json!(10001)),
        (pod, "/securityContext/seccompProfile/type", json!("RuntimeDefault")),
        (container, "/securityContext/allowPrivilegeEscalation", json!(false)),
        (container, "/securityContext/readOnlyRootFilesystem", json!(true)),
        (container, "/securityContext/capabilities", json!({ "drop": ["ALL"] })),
        (container, "/startupProbe/httpGet", json!({ "path": "/livez", "port": "http" })),
        (container, "/livenessProbe/httpGet", json!({ "path": "/livez", "port": "http" })),
        (container, "/readinessProbe/httpGet", json!({ "path": "/readyz", "port": "http" })),
        (container, "/ports", json!([{ "name": "http", "containerPort": 8080 }])),
        (workload, "/spec/selector/matchLabels", template["metadata"]["labels"].clone()),
        (container, "/resources/limits/memory", container["resources"]["requests"]["memory"].clone()),
    ];
    for (part, path, value) in wanted {
        if part.pointer(path) != Some(&value) || value.is_null() {
            found.push(format!("{path} is {:?}, not {value}", part.pointer(path)));
        }
    }
    let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap_or(30);
    if grace < stop_timeout_s(&files(pipelines(manifests))) + 10 {
        found.push("it is killed before its pipelines have stopped".into());
    }
    found.extend(selectors(manifests, &template["metadata"]["labels"]));
    found.extend(references(manifests, pod, container));
    found
}

/// Whatever selects pods selects these.
fn selectors(manifests: &[Value], labels: &Value) -> Vec<String> {
    let chosen = |selector: Option<&Value>| selector == Some(labels) && labels.is_object();
    let mut found = Vec::new();
    for (kind, path) in [("Service", "/spec/selector"), ("PodDisruptionBudget", "/spec/selector/matchLabels")]
    {
        let of_kind = of_kind(manifests, kind);
        if of_kind.is_empty() || of_kind.iter().any(|manifest| !chosen(manifest.pointer(path))) {
            found.push(format!("{kind}: {path} does not choose the pods"));
        }
    }
    let spread = &workload(manifests)["spec"]["template"]["spec"]["topologySpreadConstraints"];
    if !items(spread).iter().all(|spread| chosen(spread.pointer("/labelSelector/matchLabels"))) {
        found.push("topologySpreadConstraints do not choose the pods".into());
    }
    if let Some(name) = workload(manifests)["spec"]["serviceName"].as_str()
        && named(manifests, "Service", name).is_none()
    {
        found.push(format!("there is no Service {name}"));
    }
    found
}

/// What a pod names is there.
fn references(manifests: &[Value], pod: &Value, container: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let secret = |name: &str| SECRETS.iter().any(|(known, _)| *known == name);
    let parts = items(&pod["volumes"]).into_iter().chain(items(&container["envFrom"]));
    for part in parts {
        let map =
            part.pointer("/configMap/name").or(part.pointer("/configMapRef/name")).and_then(Value::as_str);
        let hidden =
            part.pointer("/secret/secretName").or(part.pointer("/secretRef/name")).and_then(Value::as_str);
        let fits = match (map, hidden) {
            (Some(name), None) => named(manifests, "ConfigMap", name).is_some(),
            (None, Some(name)) => secret(name),
            (None, None) => part.get("emptyDir").is_some(),
            _ => false,
        };
        if !fits {
            found.push(format!("nothing stands behind {part}"));
        }
    }
    for mount in items(&container["volumeMounts"]) {
        let volume = items(&pod["volumes"]).into_iter().find(|volume| volume["name"] == mount["name"]);
        // What is not made for the pod alone is only read.
        if volume.is_none_or(|volume| volume.get("emptyDir").is_none() && mount["readOnly"] != true) {
            found.push(format!("no volume to read stands behind {mount}"));
        }
    }
    found
}

/// The documents in a config map of pipelines.
fn files(map: &Value) -> Vec<Value> {
    let folder = Folder::new("files");
    let data = map["data"].as_object().expect("files");
    data.iter()
        .flat_map(|(name, text)| documents(&folder.write(name, text.as_str().expect("text"))))
        .collect()
}

#[test]
fn the_manifests_are_as_the_api_wants_them() {
    for variant in VARIANTS {
        let folder = Folder::new(variant);
        manifests(variant, &folder);
        checker(folder.path(), &["kubernetes-validate", "--strict", "built.yaml"]);
        let built = fs::read_to_string(folder.path().join("built.yaml")).expect("the manifests");
        folder
            .write("broken.yaml", &built.replace("terminationGracePeriodSeconds", "terminationGraceSeconds"));
        let arguments = ["kubernetes-validate", "--strict", "broken.yaml"];
        let script = Script { name: "checkers.sh", folder: folder.path(), arguments: &arguments, input: "" };
        script.run().expect_err("an unknown key is refused");
    }
}

#[test]
fn the_manifests_are_sound() {
    for variant in VARIANTS {
        let folder = Folder::new(variant);
        let sound = manifests(variant, &folder);
        none(&findings(&sound));
        let place =
            |kind: &str| sound.iter().position(|manifest| text(manifest, "/kind") == kind).expect("one");
        let workload =
            sound.iter().position(|manifest| manifest.pointer("/spec/template").is_some()).expect("one");
        for (place, part) in [
            (workload, "/spec/template/metadata/labels"),
            (workload, "/spec/template/spec/terminationGracePeriodSeconds"),
            (workload, "/spec/template/spec/automountServiceAccountToken"),
            (workload, "/spec/template/spec/securityContext/runAsNonRoot"),
            (workload, "/spec/template/spec/containers/0/securityContext"),
            (workload, "/spec/template/spec/containers/0/startupProbe"),
            (workload, "/spec/template/spec/containers/0/resources/limits"),
            (workload, "/spec/template/spec/containers/0/volumeMounts/0/readOnly"),
            (workload, "/spec/template/spec/topologySpreadConstraints/0/labelSelector"),
            (workload, "/spec/template/spec/volumes/1/secret/secretName"),
            (place("Service"), "/spec/selector"),
            (place("PodDisruptionBudget"), "/spec/selector"),
        ] {
            let mut broken = sound.clone();
            *broken[place].pointer_mut(part).unwrap_or_else(|| panic!("{part} is not there")) = Value::Null;
            assert!(!findings(&broken).is_empty(), "nobody minds that {part} is missing");
        }
    }
}

#[test]
fn the_pod_monitor_finds_the_pods() {
    let monitor = documents(&deploy("kubernetes/deployment/podmonitor.yaml")).remove(0);
    let folder = Folder::new("monitor");
    let manifests = manifests("deployment", &folder);
    let template = &workload(&manifests)["spec"]["template"];
    assert_eq!(monitor["spec"]["selector"]["matchLabels"], template["metadata"]["labels"]);
    assert_eq!(
        monitor["spec"]["podMetricsEndpoints"][0]["port"],
        template["spec"]["containers"][0]["ports"][0]["name"]
    );
}

/// The variables of the container, with paths of secrets leading to files that are here.
fn environment(manifests: &[Value], secrets: &Path) -> BTreeMap<String, String> {
    let container = &workload(manifests)["spec"]["template"]["spec"]["containers"][0];
    let mut found = BTreeMap::new();
    for from in items(&container["envFrom"]) {
        if let Some(map) = named(manifests, "ConfigMap", text(from, "/configMapRef/name")) {
            let data = map["data"].as_object().into_iter().flatten();
            found.extend(data.map(|(name, value)| (name.clone(), value.as_str().expect("text").to_owned())));
        }
        let keys = SECRETS
            .iter()
            .filter(|(name, _)| *name == text(from, "/secretRef/name"))
            .flat_map(|(_, keys)| *keys);
        found.extend(keys.map(|key| ((*key).to_owned(), "secret".to_owned())));
    }
    let mount =
        items(&container["volumeMounts"]).into_iter().find(|mount| text(mount, "/name") == "kafka-client");
    let (mount, here) = (text(mount.expect("a mount"), "/mountPath"), secrets.display().to_string());
    for variable in items(&container["env"]) {
        let value = match text(variable, "/valueFrom/fieldRef/fieldPath") {
            "metadata.name" => "aqueduct-0".to_owned(),
            _ => text(variable, "/value").replace(mount, &here),
        };
        found.insert(text(variable, "/name").to_owned(), value);
    }
    found
}

/// Lays a config map out as a node does: the files are links into a hidden folder that is replaced as a whole.
fn mounted(map: &Value) -> Folder {
    let folder = Folder::new("mounted");
    let version = folder.path().join("..2026_01_01_00_00_00.1");
    fs::create_dir(&version).expect("a folder");
    symlink(&version, folder.path().join("..data")).expect("a link");
    for (name, text) in map["data"].as_object().expect("files") {
        fs::write(version.join(name), text.as_str().expect("text")).expect("a file");
        symlink(Path::new("..data").join(name), folder.path().join(name)).expect("a link");
    }
    folder
}

#[test]
fn their_pipelines_pass_check() {
    let secrets = Folder::new("secrets");
    let path = secrets.path().display().to_string();
    let script = Script { name: "certs.sh", folder: secrets.path(), arguments: &[&path], input: "" };
    script.run().unwrap_or_else(|says| panic!("{says}"));
    for (made, wanted) in [("client.crt", "tls.crt"), ("client.key", "tls.key")] {
        fs::copy(secrets.path().join(made), secrets.path().join(wanted)).expect("a copy");
    }
    for variant in VARIANTS {
        let folder = Folder::new(variant);
        let manifests = manifests(variant, &folder);
        let mounted = mounted(pipelines(&manifests));
        let mut environment = environment(&manifests, secrets.path());
        assert_eq!(check(mounted.path(), &environment), None, "{variant}");
        environment.insert("LAKE_BUCKET".into(), String::new());
        assert!(check(mounted.path(), &environment).is_some(), "{variant}: an empty bucket is not noticed");
    }
}
