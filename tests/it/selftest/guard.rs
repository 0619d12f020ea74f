//! The guard ends everything with the test process, however that ends.

use std::io::Read;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use libtest_mimic::Trial;

use crate::harness::process::Process;
use crate::harness::servers::{Postgres, Redis};
use crate::harness::{Needs, TestResult, eventually, eventually_some, trials, workplace};

/// Tells this binary to start things and hold them, rather than to run tests.
const HOLD: &str = "CREEL_TEST_HOLD";

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING => what_a_process_has_started_ends_with_it;
        Needs::OWN_REDIS => a_server_ends_with_a_panic;
        Needs::OWN_POSTGRES | Needs::OWN_REDIS => servers_end_with_a_killed_test_process;
    }
}

pub fn is_to_hold() -> bool {
    std::env::var_os(HOLD).is_some()
}

/// Starts servers, one of which is frozen then, prints the folder of one, and waits to be killed.
pub fn hold() -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().expect("start a runtime");
    let postgres = runtime.block_on(Postgres::start()).expect("start a server");
    let redis = runtime.block_on(Redis::start()).expect("start a server");
    postgres.freeze();
    println!("{}", redis.folder().display());
    loop {
        std::thread::park();
    }
}

async fn servers_end_with_a_killed_test_process() -> TestResult {
    let mut tests = Command::new(std::env::current_exe()?).env(HOLD, "1").stdout(Stdio::piped()).spawn()?;
    let mut printed = Vec::new();
    let mut stdout = tests.stdout.take().ok_or("standard output is piped")?;
    while !printed.ends_with(b"\n") {
        let mut byte = [0];
        stdout.read_exact(&mut byte)?;
        printed.extend(byte);
    }
    let server_folder = String::from_utf8(printed)?.trim().to_owned();
    let folder = Path::new(&server_folder).parent().ok_or("the server is in the workplace")?;
    assert!(processes_in(folder)?.len() > 2, "a Redis and the processes of a Postgres");

    tests.kill()?;
    tests.wait()?;

    eventually(Duration::from_secs(10), "the servers have ended", || async {
        processes_in(folder).is_ok_and(|processes| processes.is_empty())
    })
    .await;
    eventually(Duration::from_secs(10), "the folder is gone", || async { !folder.exists() }).await;
    Ok(())
}

async fn a_server_ends_with_a_panic() -> TestResult {
    let redis = Redis::start().await?;
    let folder = redis.folder().to_owned();
    let panicking = tokio::spawn(async move {
        let _redis = redis;
        std::panic::resume_unwind(Box::new("a failed test"));
    });
    assert!(panicking.await.is_err());
    assert!(processes_in(&folder)?.is_empty());
    assert!(!folder.exists());
    Ok(())
}

/// A grandchild in a session of its own, as Postgres' processes and daemons are.
async fn what_a_process_has_started_ends_with_it() -> TestResult {
    let process = Process::new("sh", workplace::new_folder("sh")?, || {
        let mut command = Command::new("sh");
        command.args(["-c", "setsid sleep 1000 & setsid sleep 1000"]);
        command
    });
    process.launch()?;
    let folder = process.folder().to_owned();
    eventually_some(Duration::from_secs(10), "all three run", || async {
        processes_in(&folder).ok().filter(|processes| processes.len() == 3)
    })
    .await;
    process.kill9();
    assert!(processes_in(&folder)?.is_empty());
    Ok(())
}

/// As `ps` would tell, and not by the code that is under test.
fn processes_in(folder: &Path) -> TestResult<Vec<String>> {
    let pattern = format!("{}*", folder.display());
    let found = Command::new("find")
        .args(["/proc", "-mindepth", "2", "-maxdepth", "2", "-name", "cwd", "-lname", &pattern])
        .stderr(Stdio::null())
        .output()?;
    Ok(String::from_utf8(found.stdout)?.lines().map(str::to_owned).collect())
}
