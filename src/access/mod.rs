//! Who may do what: tokens from the settings and from the database, tickets for streams, and what each lets
//! its holder do and see. Nothing here knows of HTTP.

mod behind;
mod gate;
mod identity;
mod leave;
mod places;
mod secret;

pub use gate::{Access, AccessOptions, Denied};
pub use identity::{Holder, Identity};
pub use leave::Leave;
pub use places::Places;
pub use secret::{Digest, digest};
