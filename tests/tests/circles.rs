//! No file imports from another that imports from it, round however many files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The files of one crate by the path of their module: `stations::write`; the root is empty.
type Modules = BTreeMap<String, (String, String)>;

fn walk(folder: &Path, module: &str, found: &mut Modules) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let (path, stem) = (entry.path(), entry.path().file_stem().expect("a name").display().to_string());
        let inner = if module.is_empty() { stem.clone() } else { format!("{module}::{stem}") };
        if path.is_dir() {
            walk(&path, &inner, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let module = if module.is_empty() && (stem == "lib" || stem == "main") { "" } else { &inner };
            let text = fs::read_to_string(&path).expect("a text");
            found.insert(module.to_owned(), (path.display().to_string(), text));
        }
    }
}

/// Every path into its own crate that a file imports or writes out, with braces taken apart. Modules inside of a file count for
/// it; its tests and its comments do not.
fn imports(text: &str) -> Vec<String> {
    let text = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default();
    let text: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let text = format!("\n{}", text.join("\n"));
    let mut found = Vec::new();
    for root in ["crate::", "super::", "self::"] {
        for (at, _) in text.match_indices(root) {
            // The second `super` of two was met with the first.
            if text[..at].ends_with(|before: char| before.is_alphanumeric() || "_:".contains(before)) {
                continue;
            }
            let line = text[..at].rfind('\n').map_or("", |start| text[start + 1..at].trim_start());
            let statement = ["use ", "pub use ", "pub(crate) use ", "pub(super) use "].contains(&line);
            let end =
                |of: char| if statement { of == ';' } else { !(of.is_alphanumeric() || "_:".contains(of)) };
            let path: String =
                text[at..].chars().take_while(|of| !end(*of)).filter(|of| !of.is_whitespace()).collect();
            found.extend(apart(&path));
        }
    }
    found
}

/// `a::{b, c::d}` is `a::b` and `a::c::d`.
fn apart(path: &str) -> Vec<String> {
    let Some((head, rest)) = path.split_once('{') else { return vec![path.to_owned()] };
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for letter in rest.chars() {
        match letter {
            '}' if depth == 0 => break,
            ',' if depth == 0 => parts.push(String::new()),
            _ => {
                depth += i32::from(letter == '{') - i32::from(letter == '}');
                parts.last_mut().expect("one").push(letter);
            }
        }
    }
    parts.iter().flat_map(|part| apart(&format!("{head}{part}"))).collect()
}

/// The module of the crate that a path from inside of `module` leads into.
fn target(modules: &Modules, module: &str, path: &str) -> Option<String> {
    let mut at: Vec<&str> = module.split("::").filter(|part| !part.is_empty()).collect();
    let mut names = path.split("::").peekable();
    while let Some(root) = names.next_if(|name| ["crate", "super", "self"].contains(name)) {
        match root {
            "crate" => at.clear(),
            "super" => drop(at.pop()),
            _ => {}
        }
    }
    at.extend(names);
    (0..=at.len()).rev().map(|length| at[..length].join("::")).find(|it| modules.contains_key(it))
}

/// The circles of one crate, each as the files on its way. What a root gives out again is no import of its own.
fn circles(modules: &Modules) -> Vec<Vec<String>> {
    let arrows = |module: &String| -> BTreeSet<String> {
        let (_, text) = &modules[module];
        let reached = imports(text).into_iter().filter_map(|path| target(modules, module, &path));
        // A file and those in its folder are parts of one thing: what they take from it is no arrow.
        let above = |it: &String| it.is_empty() || format!("{module}::").starts_with(&format!("{it}::"));
        reached.filter(|it| !above(it) && !module.is_empty()).collect()
    };
    let arrows: BTreeMap<&String, BTreeSet<String>> = modules.keys().map(|it| (it, arrows(it))).collect();
    let reach = |from: &String| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from.clone()]);
        while let Some(module) = next.pop() {
            next.extend(arrows[&module].iter().filter(|it| seen.insert((*it).clone())).cloned());
        }
        seen
    };
    let reach: BTreeMap<&String, BTreeSet<String>> = modules.keys().map(|it| (it, reach(it))).collect();
    let circle = |module: &String| -> Vec<String> {
        let both = reach[module].iter().filter(|it| reach[it].contains(module));
        both.map(|it| modules[it].0.clone()).collect()
    };
    let found: BTreeSet<Vec<String>> = modules.keys().map(circle).filter(|it| it.len() > 1).collect();
    found.into_iter().collect()
}

#[test]
fn no_file_stands_in_a_circle() {
    let root = aqueduct_tests::root();
    let mut findings = Vec::new();
    for folder in fs::read_dir(root.join("crates")).expect("the crates").flatten() {
        let mut modules = Modules::new();
        walk(&folder.path().join("src"), "", &mut modules);
        let short = |path: &String| path.trim_start_matches(&format!("{}/", root.display())).to_owned();
        let found = circles(&modules).into_iter().map(|circle| circle.iter().map(short).collect::<Vec<_>>());
        findings.extend(found.map(|circle| circle.join(", ")));
    }
    findings.sort();
    assert!(findings.is_empty(), "files that import from each other:\n{}\n", findings.join("\n"));
}

#[test]
fn a_planted_circle_is_found() {
    let file = |(module, text): (&str, &str)| {
        (module.to_owned(), (format!("{module}.rs"), format!("//! A file.\n\n{text}\n")))
    };
    let files = [
        ("", "use crate::a::A;"),
        ("a", "use crate::{b::c::{C, D}, e::E};"),
        ("b", "pub use self::c::C;"),
        ("b::c", "use super::super::d::D;"),
        ("d", "use crate::a::A;"),
        ("e", "struct E;\n// Not crate::a::A.\n#[cfg(test)]\nmod tests {\nuse crate::a::A;\n}"),
        ("f", "pub(crate) use super::g::G;"),
        ("g", "fn g() {\n    crate::f::f();\n}"),
    ];
    let found = circles(&files.map(file).into());
    assert_eq!(found, [vec!["a.rs", "b::c.rs", "d.rs"], vec!["f.rs", "g.rs"]]);
}
