//! Which servers a test needs, and what becomes of it where they are not installed.

use super::servers::{Kind, installed};

/// A set of servers. `POSTGRES` and its like stand for the server that all tests share, `OWN_POSTGRES`
/// for one that the test starts, and may kill, for itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Needs(u8);

impl Needs {
    pub const NOTHING: Self = Self(0);
    pub const POSTGRES: Self = Self(1);
    pub const REDIS: Self = Self(2);
    pub const RABBITMQ: Self = Self(4);
    pub const OWN_POSTGRES: Self = Self(8);
    pub const OWN_REDIS: Self = Self(16);
    pub const OWN_RABBITMQ: Self = Self(32);

    const LIST: [(Self, Kind, Whose); 6] = [
        (Self::POSTGRES, Kind::Postgres, Whose::Shared),
        (Self::REDIS, Kind::Redis, Whose::Shared),
        (Self::RABBITMQ, Kind::RabbitMq, Whose::Shared),
        (Self::OWN_POSTGRES, Kind::Postgres, Whose::Own),
        (Self::OWN_REDIS, Kind::Redis, Whose::Own),
        (Self::OWN_RABBITMQ, Kind::RabbitMq, Whose::Own),
    ];

    /// What is missing, and what that means here.
    pub fn absent(self) -> Absent {
        let absent: Vec<(Kind, Whose)> = Self::LIST
            .into_iter()
            .filter(|(need, _, _)| self.0 & need.0 != 0)
            .map(|(_, kind, whose)| (kind, whose))
            .filter(|(kind, whose)| !is_there(*kind, *whose))
            .collect();
        if absent.is_empty() {
            return Absent { kind: String::new(), skipped: false, failure: None };
        }
        let names: Vec<String> = absent.iter().map(|(kind, whose)| name(*kind, *whose)).collect();
        let remedies: Vec<String> = absent.iter().map(|(kind, whose)| remedy(*kind, *whose)).collect();
        Absent {
            kind: format!("needs {}", names.join(", ")),
            skipped: !absent.iter().any(|(_, whose)| must_be_there(*whose)),
            failure: Some(remedies.join("; ")),
        }
    }
}

impl std::ops::BitOr for Needs {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What a test lacks: nothing, as a rule.
pub struct Absent {
    /// Shown before the test's name.
    pub kind: String,
    /// Whether the test is passed over, and shown as ignored.
    pub skipped: bool,
    /// What to say where the test is run all the same.
    pub failure: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Shared,
    Own,
}

fn is_there(kind: Kind, whose: Whose) -> bool {
    installed::is_installed(kind) || (whose == Whose::Shared && kind.url_given().is_some())
}

/// `CREEL_TEST_SERVERS=start` (`make test`): all of them. `given`: those that tests share, because their
/// URLs are given and nothing can be started here. Otherwise none.
fn must_be_there(whose: Whose) -> bool {
    match std::env::var("CREEL_TEST_SERVERS").as_deref() {
        Ok("start") => true,
        Ok("given") => whose == Whose::Shared,
        _ => false,
    }
}

fn name(kind: Kind, whose: Whose) -> String {
    match whose {
        Whose::Shared => kind.name().to_owned(),
        Whose::Own => format!("own {}", kind.name()),
    }
}

fn remedy(kind: Kind, whose: Whose) -> String {
    let install = format!("{} is not installed (Debian: apt-get install {})", kind.name(), kind.package());
    match whose {
        Whose::Shared => format!("{install}, and {} is not set", kind.url_variable()),
        Whose::Own => install,
    }
}
