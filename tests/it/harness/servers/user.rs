//! Whom servers run as. Postgres refuses to run as root, and the others have no need of it.

use std::path::Path;
use std::sync::LazyLock;

use crate::harness::TestResult;

#[derive(Debug, Clone, Copy)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
}

/// The first of these that exists.
const NAMES: [&str; 2] = ["postgres", "nobody"];

static UNPRIVILEGED: LazyLock<Option<User>> = LazyLock::new(|| {
    rustix::process::geteuid().is_root().then(|| {
        let users = std::fs::read_to_string("/etc/passwd").expect("read the list of users");
        let found = NAMES.iter().find_map(|name| find(&users, name));
        found.expect("as root, tests need a user `nobody` to run servers as")
    })
});

/// Nobody, where the tests do not run as root: then servers run as whoever runs the tests.
pub fn unprivileged() -> Option<User> {
    *UNPRIVILEGED
}

/// Makes a file or folder the server's own.
pub fn give(path: &Path) -> TestResult {
    if let Some(user) = unprivileged() {
        std::os::unix::fs::chown(path, Some(user.uid), Some(user.gid))?;
    }
    Ok(())
}

fn find(users: &str, name: &str) -> Option<User> {
    let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    Some(User { uid: fields.next()?.parse().ok()?, gid: fields.next()?.parse().ok()? })
}
