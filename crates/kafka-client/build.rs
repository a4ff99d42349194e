//! Names the packages to install before the Kafka client's own build fails with pages of output.

use std::path::Path;

fn main() {
    println!("cargo::rerun-if-env-changed=PATH");
    println!("cargo::rerun-if-env-changed=CC");
    println!("cargo::rerun-if-env-changed=CXX");
    let set = |name: &str| std::env::var_os(name).is_some();
    let mut missing = Vec::new();
    if !on_path(&["make", "gmake"]) {
        missing.push("make");
    }
    if !set("CC") && !on_path(&["cc", "gcc", "clang"]) {
        missing.push("a C compiler");
    }
    if !set("CXX") && !on_path(&["c++", "g++", "clang++"]) {
        missing.push("a C++ compiler");
    }
    if !on_path(&["perl"]) {
        missing.push("perl");
    }
    if !missing.is_empty() {
        let missing = missing.join(", ");
        println!(
            "cargo::error=the Kafka client is built from source, and this machine has no {missing}; install them, on Debian: apt-get install make gcc g++ perl"
        );
    }
}

fn on_path(names: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| names.iter().any(|name| is_file(&folder.join(name))))
}

fn is_file(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file())
}
