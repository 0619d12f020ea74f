//! The live side of the journal: from this node's commits and the broker, through the hub, to the
//! subscribers; every entry once, in order, with nothing missing.

mod bell;
mod counting;
mod event;
mod hub;
mod large;
mod lent;
mod look;
mod message;
mod parked;
mod publisher;
mod ringing;
mod sequencer;
mod subscriber;
mod trimming;
mod waiter;
mod window;

pub use counting::count;
pub use event::{Encoded, Event};
pub use hub::{Hub, HubOptions};
pub use large::LargeEvent;
pub use lent::Lent;
pub use publisher::Publisher;
pub use subscriber::{Item, Subscriber, Wakes};
pub use waiter::{WaitOptions, Waiter};
