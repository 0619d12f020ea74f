//! Where the servers' programs are on this machine. `scripts/test` looks in the same places.

use std::path::{Path, PathBuf};

use super::Kind;
use crate::harness::TestResult;

/// Distributions keep servers out of the path. These come first, because Debian's `rabbitmq-server` in
/// the path is a wrapper that changes the user. `*` stands for a version.
const FOLDERS: [&str; 4] =
    ["/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/lib/rabbitmq/bin", "/usr/lib/erlang/erts-*/bin"];

pub fn is_installed(kind: Kind) -> bool {
    let programs: &[&str] = match kind {
        Kind::Postgres => &["initdb", "postgres"],
        Kind::Redis => &["redis-server"],
        Kind::RabbitMq => &["rabbitmq-server", "epmd"],
    };
    programs.iter().all(|program| find(program).is_some())
}

pub fn program(name: &str) -> TestResult<PathBuf> {
    find(name).ok_or_else(|| format!("{name} is not installed").into())
}

fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    FOLDERS
        .iter()
        .flat_map(|pattern| folders(pattern))
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

/// The folders that fit a pattern with at most one `*`, the newest version first.
fn folders(pattern: &str) -> Vec<PathBuf> {
    let Some((before, after)) = pattern.split_once('*') else { return vec![PathBuf::from(pattern)] };
    let (parent, prefix) = before.rsplit_once('/').expect("patterns are absolute");
    let Ok(entries) = std::fs::read_dir(parent) else { return Vec::new() };
    let mut versions: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.strip_prefix(prefix).map(str::to_owned))
        .collect();
    versions.sort_by_key(|version| {
        version.split('.').map(|part| part.parse::<u32>().unwrap_or(0)).collect::<Vec<_>>()
    });
    versions.iter().rev().map(|version| Path::new(&format!("{before}{version}{after}")).to_owned()).collect()
}
