//! The folder in which this test process keeps everything that it starts, and the guard that ends all
//! of it with the process.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex};

use super::TestResult;

static WORKPLACE: LazyLock<Workplace> = LazyLock::new(|| Workplace::open().expect("open the workplace"));

struct Workplace {
    folder: PathBuf,
    folders_made: AtomicU32,
    guard: Mutex<Option<Child>>,
}

impl Workplace {
    fn open() -> TestResult<Self> {
        // Servers may run as another user, who has to reach his folder in it.
        let folder = tempfile::Builder::new()
            .prefix("creel-test-")
            .permissions(std::fs::Permissions::from_mode(0o711))
            .tempdir()?
            .keep()
            .canonicalize()?;
        let guard = Command::new("sh")
            .args(["-c", include_str!("guard.sh"), "guard"])
            .arg(&folder)
            .current_dir("/")
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()?;
        Ok(Self { folder, folders_made: AtomicU32::new(0), guard: Mutex::new(Some(guard)) })
    }
}

/// A new folder in the workplace.
pub fn new_folder(name: &str) -> TestResult<PathBuf> {
    let number = WORKPLACE.folders_made.fetch_add(1, Ordering::Relaxed);
    let folder = WORKPLACE.folder.join(format!("{name}-{number}"));
    std::fs::create_dir(&folder)?;
    Ok(folder)
}

/// Ends what is still running, shared servers included, and removes the folder.
pub fn close() {
    let guard = WORKPLACE.guard.lock().expect("nobody panics with the guard").take();
    if let Some(mut guard) = guard {
        drop(guard.stdin.take());
        guard.wait().expect("wait for the guard");
    }
}
