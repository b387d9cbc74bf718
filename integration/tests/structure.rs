//! The shape of `src/`: no import cycle, Pingora in two places only, a short `main.rs`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            found.push(path);
        }
    }
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Source text by top-level module, without what follows `#[cfg(test)]` and without test files.
fn modules() -> BTreeMap<String, String> {
    let mut files = Vec::new();
    sources(&src(), &mut files);
    let mut modules: BTreeMap<String, String> = BTreeMap::new();
    for file in files {
        let relative = file.strip_prefix(src()).unwrap();
        let is_test = relative
            .components()
            .any(|part| part.as_os_str().to_str().unwrap().contains("test"));
        let module = relative
            .iter()
            .next()
            .unwrap()
            .to_str()
            .unwrap()
            .trim_end_matches(".rs")
            .to_owned();
        if is_test || ["lib", "main"].contains(&module.as_str()) || relative.ends_with("conformance.rs") {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        modules.entry(module).or_default().push_str(without_tests(&text));
    }
    modules
}

/// The text before a test module that stands at its end.
fn without_tests(text: &str) -> &str {
    let tests = text.match_indices("#[cfg(test)]").find(|(at, _)| {
        let mut after = text[*at..].lines().skip(1);
        after
            .find(|line| !line.starts_with("#["))
            .is_some_and(|line| line.contains("mod ") && line.ends_with('{'))
    });
    tests.map_or(text, |(at, _)| &text[..at])
}

/// What `use crate::…` and paths in the text name.
fn imports(text: &str, known: &BTreeSet<String>) -> BTreeSet<String> {
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n");
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + 7..];
        if let Some(group) = rest.strip_prefix('{') {
            // The top-level names of a group: those at depth 0, before `::`, `,` or `{`.
            let (mut depth, mut word) = (0, String::new());
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        found.insert(std::mem::take(&mut word));
                    }
                    c if depth == 0 => word.push(c),
                    _ => {}
                }
            }
            found.insert(word);
        } else {
            found.insert(rest.to_owned());
        }
    }
    found
        .iter()
        .map(|name| {
            name.trim()
                .split(|c: char| !c.is_alphanumeric() && c != '_')
                .next()
                .unwrap()
                .to_owned()
        })
        .filter(|name| known.contains(name))
        .collect()
}

#[test]
fn modules_import_only_what_stands_above_them() {
    let modules = modules();
    let known: BTreeSet<String> = modules.keys().cloned().collect();
    let lib = fs::read_to_string(src().join("lib.rs")).unwrap();
    let order: Vec<&str> = lib
        .lines()
        .filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'))
        .collect();
    assert_eq!(
        order.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>(),
        known
    );
    let place = |name: &str| order.iter().position(|other| *other == name).unwrap();
    let mut wrong = Vec::new();
    for (module, text) in &modules {
        for import in imports(text, &known) {
            if import != *module && place(&import) > place(module) {
                wrong.push(format!("{module} imports {import}, which stands below it"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_proxy_and_server_know_pingora_and_proxy_knows_no_key() {
    for (module, text) in modules() {
        let knows = text
            .lines()
            .any(|line| line.trim_start().starts_with("use pingora") || line.contains(" pingora::"));
        assert!(
            !knows || ["proxy", "server"].contains(&module.as_str()),
            "{module} imports pingora"
        );
        if module == "proxy" {
            assert!(!text.contains("crate::keys") && !text.contains("crate::signer"));
        }
    }
}

#[test]
fn main_is_at_most_60_lines() {
    let lines = fs::read_to_string(src().join("main.rs")).unwrap().lines().count();
    assert!(lines <= 60, "main.rs has {lines} lines");
}

#[test]
fn every_line_of_the_security_table_names_its_tests() {
    let read = |name: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap();
    let promises = read("integration/README.md");
    let ids: BTreeSet<&str> = promises
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" |").next())
        .filter(|id| id.starts_with("G-"))
        .collect();
    let readme = read("README.md");
    let (_, section) = readme.split_once("\n## Security model\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let (mut lines, mut who) = (0, BTreeSet::new());
    for line in section.lines().filter(|line| line.starts_with('|')).skip(2) {
        let [_, attacker, verb, what, tests, _] = line.split('|').map(str::trim).collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        assert!(["can", "cannot"].contains(&verb) && !what.is_empty(), "{line}");
        assert!(tests.split(' ').count() > 0 && !tests.is_empty(), "{line}");
        for id in tests.split(' ') {
            assert!(ids.contains(id), "`{id}` is no promise: {line}");
        }
        lines += 1;
        who.insert(attacker);
    }
    assert!(lines > 20, "{lines}");
    for attacker in [
        "client",
        "publisher",
        "upstream",
        "network",
        "CDN, mirror",
        "proxy node",
        "online key thief",
        "minority of root keys",
    ] {
        assert!(who.contains(attacker), "{attacker}");
    }
}
