//! From an async function to a test that `cargo test` runs.

use std::time::Duration;

use libtest_mimic::{Failed, Trial};

use super::TestResult;
use super::needs::Needs;

/// A test that takes longer has hung.
const LIMIT: Duration = Duration::from_secs(180);

/// Lists tests as `trials! { NEEDS => first, second; OTHER_NEEDS => third; }`, each an
/// `async fn() -> TestResult` of the module, whose path becomes part of the test's name.
macro_rules! trials {
    ($($needs:expr => $($test:ident),+ $(,)?);* $(;)?) => {
        vec![$($(
            $crate::harness::trial(concat!(module_path!(), "::", stringify!($test)), $needs, $test)
        ),+),*]
    };
}
pub(crate) use trials;

/// A test with a name of its own choice, for lists that are made by a loop. What stands before the
/// first `::` (the crate) is left out of the name.
pub fn trial<F>(path: &str, needs: Needs, test: impl FnOnce() -> F + Send + 'static) -> Trial
where
    F: Future<Output = TestResult>,
{
    let name = path.split_once("::").map_or(path, |(_, name)| name).to_owned();
    let absent = needs.absent();
    let title = name.clone();
    let run = move || match absent.failure {
        Some(failure) => Err(Failed::from(failure)),
        None => run(&title, test()),
    };
    Trial::test(name, run).with_kind(absent.kind).with_ignored_flag(absent.skipped)
}

fn run(name: &str, test: impl Future<Output = TestResult>) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let outcome = runtime.block_on(async { tokio::time::timeout(LIMIT, test).await });
    runtime.shutdown_timeout(Duration::from_secs(5));
    match outcome {
        Ok(Ok(())) => Ok(()),
        Ok(Err(failure)) => Err(with_sources(&*failure).into()),
        Err(_) => Err(format!("{name} was not done within {LIMIT:?}").into()),
    }
}

fn with_sources(failure: &dyn std::error::Error) -> String {
    let mut text = failure.to_string();
    let mut source = failure.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
