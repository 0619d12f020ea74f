//! The plan of the house, held against the sources: arrows point down, each thing stays in its room.

use std::path::{Path, PathBuf};

use libtest_mimic::Trial;

use crate::harness::{Needs, TestResult, trials};

/// What may use what: a module uses those of its own row or of rows below, and its own row only where
/// that says so.
const LAYERS: [(u8, &[&str]); 8] = [
    (7, &["cli"]),
    (6, &["app"]),
    (5, &["http"]),
    (4, &["access", "intake", "feed", "upkeep", "presence", "inquiry", "runs"]),
    (3, &["storage"]),
    (2, &["database", "broker", "config", "metrics", "tally", "sites", "client"]),
    (1, &["rules", "claims", "export"]),
    (0, &["model", "clock", "shutdown"]),
];
/// Its modules never use each other; they meet in `model` and are joined in `app`.
const FEATURES: u8 = 4;
const LINES_MAX: usize = 400;

/// A word that may stand only in files whose path begins with one of these.
const CONFINED: [(&str, &[&str]); 6] = [
    ("actix_web", &["http/", "http.rs"]),
    ("actix_http", &["http/", "http.rs"]),
    ("actix_cors", &["http/", "http.rs"]),
    ("tokio_postgres", &["database/"]),
    ("rusqlite", &["database/"]),
    ("deadpool", &["database/"]),
];
const NEVER: [&str; 2] = ["todo!", "unimplemented!"];

pub fn trials() -> Vec<Trial> {
    trials! { Needs::NOTHING => the_house_is_tidy, untidiness_is_found, tidiness_is_let_be }
}

/// A source file, its path as from `src/`.
struct Source {
    path: String,
    text: String,
}

async fn the_house_is_tidy() -> TestResult {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut findings = Vec::new();
    for file in rust_files(&root)? {
        let path = file.strip_prefix(&root)?.to_string_lossy().into_owned();
        findings.extend(check(&Source { path, text: std::fs::read_to_string(&file)? }));
    }
    if findings.is_empty() { Ok(()) } else { Err(findings.join("\n").into()) }
}

/// Whether a path of the crate stands in a line; its bare name may, in a text.
fn uses(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let rest = line[at + name.len()..].trim_start_matches(|c: char| c.is_alphanumeric() || c == '_');
        rest.starts_with("::")
    })
}

/// All that is wrong with a file.
fn check(source: &Source) -> Vec<String> {
    let code = code_lines(&source.text);
    let mut findings = upward_arrows(source, &code);
    for (number, line) in &code {
        for (word, rooms) in CONFINED {
            if uses(line, word) && !rooms.iter().any(|room| source.path.starts_with(room)) {
                findings.push(format!("src/{}:{number}: {word} stays in {}", source.path, rooms[0]));
            }
        }
        for word in NEVER.iter().filter(|word| line.contains(**word)) {
            findings.push(format!("src/{}:{number}: {word}", source.path));
        }
    }
    let lines = source.text.lines().count();
    if lines > LINES_MAX {
        findings.push(format!("src/{}: {lines} lines; what second thing lives there?", source.path));
    }
    if !source.text.starts_with("//!") {
        findings.push(format!("src/{}: does not begin with what it is for (`//!`)", source.path));
    }
    findings
}

fn upward_arrows(source: &Source, code: &[(usize, &str)]) -> Vec<String> {
    let own = module_of(&source.path);
    if own == "main" || own == "lib" {
        return Vec::new();
    }
    let Some(own_layer) = layer_of(own) else {
        return vec![format!("src/{}: {own} is in no layer; give it one in tests/it/tidy.rs", source.path)];
    };
    let mut findings = Vec::new();
    for (number, used) in crate_paths(code) {
        let allowed = used == own
            || layer_of(&used)
                .is_some_and(|layer| layer < own_layer || (layer == own_layer && layer != FEATURES));
        if !allowed {
            findings.push(format!("src/{}:{number}: {own} may not use {used}", source.path));
        }
    }
    findings
}

/// The first part of every `crate::...` path, those in braces too, with its line.
fn crate_paths(code: &[(usize, &str)]) -> Vec<(usize, String)> {
    const PREFIX: &str = "crate::";
    let mut paths = Vec::new();
    for (place, (number, line)) in code.iter().enumerate() {
        for (start, _) in line.match_indices(PREFIX) {
            let rest: Vec<&str> = code[place + 1..].iter().map(|(_, line)| *line).collect();
            let rest = format!("{} {}", &line[start + PREFIX.len()..], rest.join(" "));
            let modules = match rest.strip_prefix('{') {
                Some(list) => first_parts(list),
                None => vec![identifier(&rest)],
            };
            paths.extend(modules.into_iter().map(|module| (*number, module)));
        }
    }
    paths
}

/// `a::{b, c}, d};` is `a` and `d`.
fn first_parts(list: &str) -> Vec<String> {
    let mut depth = 0;
    let mut parts = vec![String::new()];
    for letter in list.chars() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => parts.push(String::new()),
            _ if depth == 0 => parts.last_mut().expect("there is always one").push(letter),
            _ => {}
        }
    }
    parts.iter().map(|part| identifier(part.trim_start())).filter(|part| !part.is_empty()).collect()
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect()
}

/// Lines with their numbers, less comments and the module of tests at the end of a file.
fn code_lines(text: &str) -> Vec<(usize, &str)> {
    let code = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    (1..).zip(code.lines()).filter(|(_, line)| !line.trim_start().starts_with("//")).collect()
}

/// `http/api/mod.rs` is in `http`, `app.rs` is `app`.
fn module_of(path: &str) -> &str {
    let first = path.split('/').next().unwrap_or(path);
    first.strip_suffix(".rs").unwrap_or(first)
}

fn layer_of(module: &str) -> Option<u8> {
    LAYERS.iter().find(|(_, modules)| modules.contains(&module)).map(|(layer, _)| *layer)
}

fn rust_files(folder: &Path) -> TestResult<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn sample(path: &str, text: &str) -> Source {
    Source { path: path.to_owned(), text: text.to_owned() }
}

async fn untidiness_is_found() -> TestResult {
    let samples = [
        ("model/a.rs", "//! a\nuse crate::http::Problem;\n", "src/model/a.rs:2: model may not use http"),
        (
            "feed/a.rs",
            "//! a\nfn f() { crate::intake::accept() }\n",
            "src/feed/a.rs:2: feed may not use intake",
        ),
        (
            "storage/a.rs",
            "//! a\nuse crate::{\n    model::{A, B},\n    feed::Hub,\n};\n",
            "src/storage/a.rs:2: storage may not use feed",
        ),
        ("intake/a.rs", "//! a\nuse crate::helpers::f;\n", "src/intake/a.rs:2: intake may not use helpers"),
        ("helpers.rs", "//! a\n", "src/helpers.rs: helpers is in no layer; give it one in tests/it/tidy.rs"),
        ("app.rs", "//! a\nuse actix_web::App;\n", "src/app.rs:2: actix_web stays in http/"),
        (
            "storage/a.rs",
            "//! a\nuse tokio_postgres::Row;\n",
            "src/storage/a.rs:2: tokio_postgres stays in database/",
        ),
        ("clock.rs", "//! a\nfn f() { todo!() }\n", "src/clock.rs:2: todo!"),
        ("clock.rs", "fn f() {}\n", "src/clock.rs: does not begin with what it is for (`//!`)"),
    ];
    for (path, text, expected) in samples {
        assert_eq!(check(&sample(path, text)), [expected]);
    }
    let long = format!("//! a\n{}", "fn f() {}\n".repeat(LINES_MAX));
    assert_eq!(check(&sample("clock.rs", &long)).len(), 1, "a long file");
    Ok(())
}

async fn tidiness_is_let_be() -> TestResult {
    let samples = [
        ("http/a.rs", "//! a\nuse actix_web::App;\nuse crate::{feed::Hub, intake, model::A};\n"),
        ("database/postgres.rs", "//! a\nuse tokio_postgres::Row;\nuse crate::config::Config;\n"),
        ("intake/a.rs", "//! a\nuse crate::intake::journal;\n// not crate::feed\n"),
        ("feed/a.rs", "//! a\nfn f() {}\n#[cfg(test)]\nmod tests {\n    use crate::intake;\n}\n"),
        ("main.rs", "//! a\nfn main() { creel::cli::run() }\n"),
    ];
    for (path, text) in samples {
        assert_eq!(check(&sample(path, text)), Vec::<String>::new(), "{path}");
    }
    Ok(())
}
