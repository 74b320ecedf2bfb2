//! The rules of this project that a program can check.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All Rust files below a folder of the repository, with their text.
fn sources(folder: &str) -> Vec<(String, String)> {
    let mut found = vec![];
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.expect("it can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()).expect("it is below").display().to_string();
                found.push((name, read(&path)));
            }
        }
    }
    assert!(!found.is_empty(), "{folder} has no sources");
    found
}

/// The text before the tests of a file.
fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap_or(text)
}

#[test]
fn every_file_says_what_it_holds_and_is_not_too_long() {
    // Tables of data and of tests may be long.
    let long = ["crates/keyward-tower/src/code.rs"];
    for (name, text) in sources("crates") {
        assert!(text.starts_with("//!"), "{name} does not say what it holds");
        let n_lines = text.lines().count();
        let is_test = name.contains("/tests/");
        assert!(
            is_test || n_lines <= 500 || long.contains(&name.as_str()),
            "{name}: {n_lines} lines"
        );
    }
}

#[test]
fn nothing_unfinished_is_left() {
    // In two parts each, so that this file has none of them.
    let marks = [
        ("#[", "ignore"),
        ("should", "_panic"),
        ("todo", "!("),
        ("unimplemented", "!("),
        ("dbg", "!("),
        ("FIX", "ME"),
        ("XX", "X"),
    ];
    for (name, text) in sources("crates") {
        for (front, back) in marks {
            let mark = format!("{front}{back}");
            assert!(!text.contains(&mark), "{name} has {mark}");
        }
    }
}

#[test]
fn a_layer_imports_only_from_those_below() {
    let layers: [&[&str]; 4] = [
        &["config", "mail", "observe", "outbound"],
        &["app"],
        &["v3", "dashboard", "docs", "workers"],
        &["server", "cli"],
    ];
    for (height, layer) in layers.iter().enumerate() {
        for module in *layer {
            let above = layers[height + 1..].iter().flat_map(|layer| layer.iter());
            // Faces never import one another; what assembles may.
            let beside = layer.iter().filter(|other| height == 2 && *other != module);
            let forbidden: Vec<&&str> = above.chain(beside).collect();
            for (name, text) in sources(&format!("crates/keyward/src/{module}")) {
                for other in &forbidden {
                    let import = format!("crate::{other}");
                    assert!(!without_tests(&text).contains(&import), "{name} imports {import}");
                }
            }
        }
    }
}

#[test]
fn only_the_application_writes_and_only_the_seam_knows_the_engine() {
    for (name, text) in sources("crates/keyward/src") {
        let writes = [".write(move |tx|", ".write(|tx|", "write_blocking("];
        let is_app = name.starts_with("crates/keyward/src/app/");
        assert!(is_app || writes.iter().all(|call| !text.contains(call)), "{name} writes");
        assert!(!text.contains("rusqlite"), "{name} knows the engine");
        let is_face = ["/v3/", "/server/", "/dashboard/", "/outbound/", "/webhooks/deliver"]
            .iter()
            .any(|face| name.contains(face));
        assert!(is_face || !text.contains("use http"), "{name} knows HTTP");
    }
    for (name, text) in sources("crates/keyward-store/src") {
        let may = [
            "/src/tx.rs",
            "/src/engine/",
            "/src/migrate.rs",
            "/src/glance.rs",
            "/src/replace.rs",
            "/src/error.rs",
        ];
        let may = may.iter().any(|place| name.contains(place));
        assert!(may || !text.contains("rusqlite::"), "{name} knows the engine");
        assert!(!text.contains("$1"), "{name} numbers a parameter as SQLite does not");
    }
}

#[test]
fn the_core_has_nothing_to_do_io_with() {
    let manifest = read(root().join("crates/keyward-core/Cargo.toml"));
    let dependencies = manifest.split("[dependencies]").nth(1).expect("it has dependencies");
    let dependencies = dependencies.split("\n[").next().expect("the section ends");
    let names: Vec<&str> = dependencies
        .lines()
        .filter_map(|line| line.split(['.', ' ', '=']).next())
        .filter(|name| !name.is_empty())
        .collect();
    assert_eq!(names, ["ipnet", "sha2", "uuid", "zeroize"]);
    for (name, text) in sources("crates/keyward-core/src") {
        for word in ["std::fs", "std::net::Tcp", "SystemTime", "Instant", "std::env", "async "] {
            assert!(!without_tests(&text).contains(word), "{name} has {word}");
        }
    }
}

#[test]
fn every_file_of_tests_is_run() {
    for (crate_name, folder) in
        [("keyward", "api"), ("keyward", "soak"), ("keyward-store", "it"), ("keyward-tower", "it")]
    {
        let folder = root().join("crates").join(crate_name).join("tests").join(folder);
        let main = read(folder.join("main.rs"));
        for entry in fs::read_dir(&folder).expect("it is there") {
            let path = entry.expect("it can be read").path();
            let name = path.file_stem().and_then(|stem| stem.to_str()).expect("a name");
            let is_run = name == "main" || main.contains(&format!("mod {name};"));
            assert!(is_run, "{} is not listed in main.rs", path.display());
        }
    }
}

#[test]
fn the_browsers_driver_is_pinned_and_no_registry_is_named() {
    let lock = read(root().join("e2e/browser/package-lock.json"));
    let lock: serde_json::Value = serde_json::from_str(&lock).expect("it is JSON");
    let packages = lock["packages"].as_object().expect("it lists packages");
    let manifest = &packages[""]["dependencies"];
    for (place, package) in packages.iter().filter(|(place, _)| !place.is_empty()) {
        // Whoever installs takes it from the registry that they have chosen, and checks the digest.
        assert!(package.get("resolved").is_none(), "{place}: take out 'resolved'");
        assert!(package["integrity"].is_string(), "{place} has no digest");
        let name = place.rsplit("node_modules/").next().unwrap_or_default();
        assert_eq!(manifest[name], package["version"], "{place} is not pinned in package.json");
    }
}

#[test]
fn every_file_of_browser_tests_says_what_it_holds_and_exports_sentences() {
    for entry in fs::read_dir(root().join("e2e/browser/tests")).expect("it is there") {
        let path = entry.expect("it can be read").path();
        let (name, text) = (path.display(), read(&path));
        assert!(
            path.extension().is_some_and(|extension| extension == "mjs"),
            "{name} is never run"
        );
        assert!(text.starts_with("// "), "{name} does not say what it holds");
        let tests = text.lines().filter_map(|line| line.strip_prefix("export async function "));
        for test in tests {
            let sentence = test.split('(').next().unwrap_or_default();
            assert!(sentence.matches('_').count() >= 3, "{name}: {sentence} is no sentence");
        }
    }
}

#[test]
fn the_readme_has_every_setting_and_the_help_of_serve_as_well() {
    let readme = read(root().join("README.md"));
    let serve = read(root().join("crates/keyward/src/cli/serve.rs"));
    for setting in keyward::config::SETTINGS {
        let shown = if setting.default.is_empty() {
            String::new()
        } else {
            format!("`{}` ", setting.default)
        };
        let row = format!(
            "| `{}` | `{}` | `{}` | {shown}|",
            setting.name,
            setting.flag(),
            setting.variable()
        );
        assert!(readme.contains(&row), "README.md lacks: {row}");
        if setting.name != "data_dir" {
            let flag = format!("(\"{0}\", self.{0})", setting.name);
            assert!(serve.contains(&flag), "serve does not hand on {}", setting.name);
        }
    }
}

#[test]
fn what_architecture_names_exists() {
    let page = read(root().join("ARCHITECTURE.md"));
    assert!(page.lines().count() < 200);
    let all = sources("crates");
    let all_text: String = all.iter().map(|(name, text)| format!("{name}\n{text}")).collect();
    let in_code: Vec<&str> =
        page.split("```").step_by(2).flat_map(|part| part.split('`').skip(1).step_by(2)).collect();
    assert!(in_code.len() > 60, "the page names things");
    for name in in_code {
        let exists = all_text.contains(name)
            || root().join(name).exists()
            || all
                .iter()
                .any(|(file, _)| file.contains(name) || file.contains(&format!("/{name}.rs")))
            || ["/v3", "x-profile-id", "keyward keys revoke"].contains(&name);
        assert!(exists, "ARCHITECTURE.md names {name}, which is not there");
    }
    for (name, _) in all.iter().filter(|(name, _)| !name.contains("/tests/")) {
        let module = Path::new(name).file_stem().and_then(|s| s.to_str()).unwrap_or_default();
        let is_top = name.split('/').count() == 4 && name.contains("/src/");
        let is_known = ["lib", "main", "mod"].contains(&module);
        assert!(!is_top || is_known || page.contains(&format!("`{module}`")), "{name} has no room");
    }
}

#[test]
fn what_security_names_as_shown_by_a_test_is_a_test() {
    let page = read(root().join("SECURITY.md"));
    let tests: String = sources("crates").into_iter().map(|(_, text)| text).collect();
    let rows = page.lines().filter(|line| line.starts_with("| "));
    let names = rows
        .filter_map(|row| row.rsplit('|').nth(1))
        .flat_map(|cell| cell.split('`').skip(1).step_by(2));
    let mut n_names = 0;
    for name in names.filter(|name| name.contains('_') && !name.contains('.')) {
        assert!(
            tests.contains(&format!("fn {name}(")),
            "SECURITY.md names {name}, which is no test"
        );
        n_names += 1;
    }
    assert!(n_names >= 12, "the page names its tests");
}

#[test]
fn every_section_of_the_contract_that_is_built_is_claimed_by_code_and_by_a_test() {
    let all = sources("crates");
    for section in 1..=10 {
        let is_claimed = |text: &str| {
            let rest = text.split("Contract ").skip(1);
            rest.filter_map(|rest| rest.split(['.', ';', ':', '\n', '/']).next()).any(|numbers| {
                let words = numbers.split([',', ' ']).filter(|word| !word.is_empty());
                let numbers: Vec<&str> = words.collect();
                let section = section.to_string();
                numbers.contains(&section.as_str())
                    || numbers.windows(3).any(|w| {
                        w[1] == "to"
                            && w[0].parse::<u32>().is_ok_and(|from| from.to_string() <= section)
                            && w[2].parse::<u32>().is_ok_and(|to| section <= to.to_string())
                    })
            })
        };
        let (tests, code): (Vec<_>, Vec<_>) =
            all.iter().partition(|(name, _)| name.contains("/tests/"));
        assert!(code.iter().any(|(_, text)| is_claimed(text)), "no code claims section {section}");
        assert!(tests.iter().any(|(_, text)| is_claimed(text)), "no test claims section {section}");
    }
}
