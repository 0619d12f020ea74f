//! `creel migrate`: for deployments whose nodes run with `database.migrate = "off"`.

use std::process::ExitCode;

use super::SettingsArgs;
use crate::app;
use crate::database::Migrate;

#[expect(clippy::print_stdout, reason = "what was done is this command's output")]
pub fn run(args: &SettingsArgs) -> ExitCode {
    let (settings, runtime) = match super::prepare(args) {
        Ok(prepared) => prepared,
        Err(code) => return code,
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
