//! A program that a test has started, and everything that this program has started in turn.

use std::collections::HashSet;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::TestResult;
use super::wait::eventually_some;

/// What ends in good order has so long for it when it is dropped.
const FAREWELL_LIMIT: Duration = Duration::from_secs(2);
/// What a signal does is done within that, on a busy machine.
const SIGNAL_LIMIT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(5);

type MakeCommand = Box<dyn Fn() -> Command + Send + Sync>;

/// A program with a folder of its own, which is its working directory and by which all its processes
/// are known. Dropping it ends them and removes the folder.
pub struct Process {
    name: &'static str,
    folder: PathBuf,
    command: MakeCommand,
    child: Mutex<Option<Child>>,
    /// Sent before the end where being killed leaves something behind.
    farewell: Option<Signal>,
    /// Whether what it says on stderr is kept apart from what it prints.
    talk_apart: bool,
}

impl Process {
    /// Not started yet. The folder becomes the process's own.
    pub fn new(
        name: &'static str,
        folder: PathBuf,
        command: impl Fn() -> Command + Send + Sync + 'static,
    ) -> Self {
        Self {
            name,
            folder,
            command: Box::new(command),
            child: Mutex::new(None),
            farewell: None,
            talk_apart: false,
        }
    }

    pub fn with_farewell(mut self, signal: Signal) -> Self {
        self.farewell = Some(signal);
        self
    }

    /// Keeps stderr apart, for [`talk`](Self::talk).
    pub fn with_talk_apart(mut self) -> Self {
        self.talk_apart = true;
        self
    }

    /// Starts the program; its output is appended to [`log`](Self::log).
    pub fn launch(&self) -> TestResult {
        let mut child = self.child.lock().expect("nobody panics with the child");
        assert!(child.is_none(), "{} is running already", self.name);
        let open = |path| File::options().create(true).append(true).open(path);
        let log = open(self.log_file())?;
        let talk = if self.talk_apart { open(self.talk_file())? } else { log.try_clone()? };
        let spawned = (self.command)()
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(talk)
            .process_group(0)
            .spawn();
        *child = Some(spawned.map_err(|error| format!("failed to start {}: {error}", self.name))?);
        Ok(())
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What the program has printed so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&self.output()).into_owned()
    }

    /// The same to the octet.
    pub fn output(&self) -> Vec<u8> {
        std::fs::read(self.log_file()).unwrap_or_default()
    }

    /// What the program has said on stderr so far, where that is kept apart.
    pub fn talk(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.talk_file()).unwrap_or_default()).into_owned()
    }

    /// The process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.lock().expect("nobody panics with the child").as_ref().map(Child::id)
    }

    /// An error that carries the log, once the program has ended.
    pub fn check_running(&self) -> TestResult {
        match self.try_wait()? {
            None => Ok(()),
            Some(status) => Err(format!("{} ended: {status}\n{}", self.name, self.log()).into()),
        }
    }

    /// Waits until it has ended by itself, in whatever way.
    pub async fn end(&self, limit: Duration) -> ExitStatus {
        let what = format!("{} ends", self.name);
        let status = eventually_some(limit, &what, || async { self.try_wait().ok().flatten() }).await;
        self.kill9();
        status
    }

    /// Waits until it has ended by itself, in good order.
    pub async fn ended(&self, limit: Duration) -> TestResult {
        let status = self.end(limit).await;
        if status.success() {
            Ok(())
        } else {
            Err(format!("{} ended: {status}\n{}", self.name, self.log()).into())
        }
    }

    /// Sends a signal to the program itself.
    pub fn signal(&self, signal: Signal) -> TestResult {
        send(self.pid().ok_or_else(|| format!("{} is not running", self.name))?, signal);
        Ok(())
    }

    /// Sends a signal to the program itself, and waits until it has ended.
    pub async fn end_with(&self, signal: Signal, limit: Duration) -> TestResult<ExitStatus> {
        self.signal(signal)?;
        let status = eventually_some(limit, "the program ends", || async { self.try_wait().ok().flatten() });
        let status = status.await;
        self.kill9();
        Ok(status)
    }

    /// `kill -9` for all its processes at once; returns when they are gone, their sockets included.
    ///
    /// # Panics
    /// Where they do not go.
    pub fn kill9(&self) {
        assert!(self.kill_all(), "{} was killed and is still there", self.name);
    }

    /// Stops all its processes (`SIGSTOP`), so that it is silent with its connections open; returns when
    /// their last thread stands still.
    ///
    /// # Panics
    /// Where one goes on.
    pub fn freeze(&self) {
        let deadline = Instant::now() + SIGNAL_LIMIT;
        loop {
            // Again and again, since a process may have started another one meanwhile.
            let running: Vec<u32> = self.processes().into_iter().filter(|pid| !is_frozen(*pid)).collect();
            if running.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "{} was stopped and goes on", self.name);
            running.iter().for_each(|pid| send(*pid, Signal::STOP));
            std::thread::sleep(PAUSE);
        }
    }

    /// Lets all its processes go on.
    pub fn thaw(&self) {
        self.processes().into_iter().for_each(|pid| send(pid, Signal::CONT));
    }

    /// Whether they are gone in time.
    fn kill_all(&self) -> bool {
        let mut killed = HashSet::new();
        let deadline = Instant::now() + SIGNAL_LIMIT;
        loop {
            // Again and again, since a process may have started another one meanwhile.
            let processes = self.processes();
            processes.iter().for_each(|pid| send(*pid, Signal::KILL));
            killed.extend(processes.iter().copied());
            if processes.is_empty() && killed.iter().all(|pid| is_gone(*pid)) {
                break;
            }
            if Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(PAUSE);
        }
        let child = self.child.lock().expect("nobody panics with the child").take();
        child.is_none_or(|mut child| child.wait().is_ok())
    }

    fn try_wait(&self) -> TestResult<Option<ExitStatus>> {
        match self.child.lock().expect("nobody panics with the child").as_mut() {
            None => Err(format!("{} is not running", self.name).into()),
            Some(child) => Ok(child.try_wait()?),
        }
    }

    /// All living processes whose working directory is in the folder.
    fn processes(&self) -> Vec<u32> {
        let Ok(all) = std::fs::read_dir("/proc") else { return Vec::new() };
        all.flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid| {
                std::fs::read_link(format!("/proc/{pid}/cwd"))
                    .is_ok_and(|folder| folder.starts_with(&self.folder))
            })
            .collect()
    }

    fn talk_file(&self) -> PathBuf {
        self.folder.join("talk")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("log")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let (Some(signal), Some(pid)) = (self.farewell, self.pid()) {
            self.thaw();
            send(pid, signal);
            let deadline = Instant::now() + FAREWELL_LIMIT;
            while matches!(self.try_wait(), Ok(None)) && Instant::now() < deadline {
                std::thread::sleep(PAUSE);
            }
        }
        // What is still there after all goes with the workplace.
        self.kill_all();
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

/// Whether a process has ended with all its threads: the first may be gone, and its working directory
/// with it, while another still holds the sockets.
fn is_gone(pid: u32) -> bool {
    thread_states(pid).into_iter().all(|state| matches!(state, 'Z' | 'X'))
}

fn is_frozen(pid: u32) -> bool {
    thread_states(pid).into_iter().all(|state| matches!(state, 'T' | 'Z' | 'X'))
}

/// The states of a process's threads in the letters of `ps`; none of one that has been waited for.
fn thread_states(pid: u32) -> Vec<char> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    threads
        .flatten()
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("stat")).ok())
        .filter_map(|stat| stat.rsplit_once(") ")?.1.chars().next())
        .collect()
}

/// A process that has ended meanwhile is no failure.
fn send(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        kill_process(pid, signal).ok();
    }
}
