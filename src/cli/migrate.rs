//! `creel migrate`: for deployments whose nodes run with `database.migrate = "off"`.

use std::process::ExitCode;

use super::SettingsArgs;
use crate::app;
use crate::database::Migrate;

#[expect(clippy::print_stdout, reason = "what was done is this command's output")]
pub fn run(args: &SettingsArgs) -> ExitCode {
    let mut source = args.source();
    // Nothing is served, so nothing needs to be guarded.
    source.flags.push(("auth.mode", "none".to_owned()));
    let settings = match super::load(&source) {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            super::complain(&error);
            return ExitCode::FAILURE;
        }
    };
    let migrated = runtime.block_on(async {
        let database = app::open_database(&settings)?;
        let migrated = database.migrate(Migrate::Apply).await;
        database.close().await;
        migrated
    });
    match migrated {
        Ok(migrated) => {
            for name in &migrated.applied {
                println!("applied {name}");
            }
            println!("the schema is at version {}", migrated.version);
            ExitCode::SUCCESS
        }
        Err(error) => {
            super::complain(&error);
            ExitCode::FAILURE
        }
    }
}
