//! The Dockerfile: linted, built without a registry, and its image run by the runtime that container engines use.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use aqueduct_tests::{Folder, Script, binary, checker, free_ports, request, root, until};
use serde_json::{Value, json};

/// What a container may use, little enough to matter.
const MEMORY_BYTES: u64 = 96 << 20;

/// An image, unpacked.
struct Image {
    folder: Folder,
    /// What it says about itself.
    config: Value,
}

/// A container that runs; it is removed with its value.
struct Container<'a> {
    image: &'a Image,
    name: &'static str,
    runtime: Child,
}

impl Image {
    fn build() -> Self {
        let folder = Folder::new("image");
        let (path, binary) = (folder.path().display().to_string(), binary().display().to_string());
        let script = Script { name: "image.sh", folder: root(), arguments: &[&path, &binary], input: "" };
        let size = script.run().unwrap_or_else(|says| panic!("{says}"));
        println!("the image has {}", size.trim());
        let json = fs::read_to_string(folder.path().join("image.json")).expect("what it says about itself");
        let json: Value = serde_json::from_str(&json).expect("JSON");
        Self { folder, config: json["Docker"]["config"].clone() }
    }

    fn words(&self, key: &str) -> Vec<String> {
        serde_json::from_value(self.config[key].clone()).unwrap_or_else(|_| panic!("the image has no {key}"))
    }

    /// Starts a container as an engine would: as the user and in the folder that the image names, nothing writable but
    /// `/state`, no capabilities, little memory.
    fn run(&self, name: &'static str, words: &[String], pipelines: &Path, state: &Path) -> Container<'_> {
        let user: Vec<u32> =
            self.config["User"].as_str().expect("a user").split(':').flat_map(str::parse).collect();
        let bind = |from: &Path, to: &str, mode: &str| json!({ "type": "bind", "source": from, "destination": to, "options": ["rbind", mode] });
        let spaces = ["pid", "ipc", "uts", "mount"].map(|kind| json!({ "type": kind }));
        let bundle = self.folder.path().join(name);
        fs::create_dir_all(&bundle).expect("a folder");
        let config = json!({
            "ociVersion": "1.0.2",
            "root": { "path": fs::canonicalize(self.folder.path().join("rootfs")).expect("the files"), "readonly": true },
            "process": {
                "args": words,
                "cwd": self.config["WorkingDir"],
                "env": self.config["Env"],
                "user": { "uid": user[0], "gid": user[1] },
                "capabilities": {},
                "noNewPrivileges": true,
            },
            "mounts": [
                { "type": "proc", "source": "proc", "destination": "/proc" },
                { "type": "tmpfs", "source": "tmpfs", "destination": "/dev", "options": ["nosuid", "mode=755"] },
                { "type": "cgroup", "source": "cgroup", "destination": "/sys/fs/cgroup", "options": ["nosuid", "noexec", "nodev", "ro"] },
                bind(pipelines, "/pipelines", "ro"),
                bind(state, "/state", "rw"),
            ],
            "linux": { "namespaces": spaces, "resources": { "memory": { "limit": MEMORY_BYTES } } },
        });
        fs::write(bundle.join("config.json"), config.to_string()).expect("the configuration");
        let log = File::create(bundle.join("log")).expect("a log");
        let runtime = runc(self)
            .args(["run", "--bundle", &bundle.display().to_string(), "--pid-file"])
            .arg(bundle.join("container.pid"))
            .arg(name)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("runc is installed: apt-get install runc");
        Container { image: self, name, runtime }
    }
}

fn runc(image: &Image) -> Command {
    let mut runc = Command::new("runc");
    runc.arg("--root").arg(image.folder.path().join("runc"));
    runc
}

impl Container<'_> {
    fn output(&self) -> String {
        fs::read_to_string(self.image.folder.path().join(self.name).join("log")).unwrap_or_default()
    }

    fn ended(&mut self) -> Option<i32> {
        self.runtime.try_wait().expect("its state").map(|status| status.code().unwrap_or(-1))
    }

    fn code(mut self) -> i32 {
        until("the container ends", Duration::from_secs(40), || self.ended())
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        let _ = runc(self.image).args(["delete", "--force", self.name]).stderr(Stdio::null()).status();
        let _ = self.runtime.kill();
        let _ = self.runtime.wait();
    }
}

#[test]
fn the_dockerfile_has_no_lint() {
    checker(root(), &["hadolint", "Dockerfile"]);
    let arguments = ["hadolint", "-"];
    let input = "FROM debian:latest\nRUN cd /tmp\n";
    Script { name: "checkers.sh", folder: root(), arguments: &arguments, input }
        .run()
        .expect_err("lint is found");
}

#[test]
fn the_image_runs() {
    let image = Image::build();
    runs_a_pipeline_and_stops_in_good_order(&image);
    writes_nowhere_else(&image);
}

fn runs_a_pipeline_and_stops_in_good_order(image: &Image) {
    let (pipelines, state, listen) = (Folder::new("pipelines"), Folder::new("state"), free_ports(1));
    pipelines.write("aqueduct.yaml", &format!("runtime: {{ listen: \"127.0.0.1:{listen}\", log: json }}\n"));
    pipelines.write(
        "orders.yaml",
        "pipeline: orders\nsource: { generate: { rate: 200 } }\nsink: { directory: { folder: /state/lake, path: \"{topic}/{partition}-{start_offset}\", format: lines, rotate: { records_max: 50 } } }\noffset_store: { file: { path: /state/offsets } }\n",
    );
    let (state, pipelines) = (state.path(), pipelines.path());
    std::os::unix::fs::chown(state, Some(10001), Some(10001)).expect("the user's folder");
    assert_eq!(image.config["User"], "10001:10001");
    // A volume that an engine makes has the owner of the folder that it covers.
    let covered = fs::metadata(image.folder.path().join("rootfs/state")).expect("a folder for state");
    assert_eq!(covered.uid(), 10001);
    let health = image.config["Healthcheck"]["Test"].as_array().expect("a health check");
    assert_eq!(health[0], "CMD");
    let health: Vec<String> =
        health[1..].iter().map(|word| word.as_str().expect("text").to_owned()).collect();

    assert_ne!(image.run("nobody", &health, pipelines, state).code(), 0, "healthy before anything runs");
    let words = [image.words("Entrypoint"), image.words("Cmd")].concat();
    assert_eq!(words, ["aqueduct", "run", "/pipelines"]);
    let mut container = image.run("pipelines", &words, pipelines, state);
    let lake = state.join("lake");
    until("the pipeline writes files", Duration::from_secs(30), || {
        assert_eq!(container.ended(), None, "{}", container.output());
        files(&lake).into_iter().find(|(_, user)| *user == 10001)
    });
    until("it is ready", Duration::from_secs(10), || {
        request(listen, "GET", "/readyz", "").ok().filter(|(status, _)| *status == 200)
    });
    assert_eq!(image.run("health", &health, pipelines, state).code(), 0, "not healthy while it runs");

    let says = container.output();
    let half = format!("\"memory_max_bytes\":{}", MEMORY_BYTES / 2);
    assert!(
        says.contains(&half),
        "half of the container's memory is not what the pipelines may keep:\n{says}"
    );

    let stopped = runc(image).args(["kill", container.name, "TERM"]).status().expect("runc");
    assert!(stopped.success());
    until("it stops", Duration::from_secs(30), || {
        container.ended().map(|code| assert_eq!(code, 0, "{}", container.output()))
    });
    let offsets = files(&state.join("offsets"));
    assert!(!offsets.is_empty(), "the offsets are not in /state");
    assert!(
        image.config["Volumes"].as_object().is_none_or(serde_json::Map::is_empty),
        "nothing is kept by surprise"
    );
}

fn writes_nowhere_else(image: &Image) {
    let (pipelines, state) = (Folder::new("pipelines"), Folder::new("state"));
    pipelines.write(
        "elsewhere.yaml",
        "pipeline: elsewhere\nsource: { generate: { count: 1 } }\nsink: { file: { path: /elsewhere.jsonl } }\n",
    );
    let words = [image.words("Entrypoint"), image.words("Cmd")].concat();
    let mut container = image.run("elsewhere", &words, pipelines.path(), state.path());
    until("it says that it cannot write", Duration::from_secs(20), || {
        let says = container.output();
        (says.contains("ead-only") || says.contains("denied") || container.ended().is_some()).then_some(())
    });
    assert!(
        !fs::exists(image.folder.path().join("rootfs/elsewhere.jsonl")).expect("an answer"),
        "{}",
        container.output()
    );
}

/// Every file below a folder and its owner.
fn files(folder: &Path) -> Vec<(String, u32)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.extend(entry.metadata().ok().map(|file| (path.display().to_string(), file.uid()))),
        }
    }
    found
}
