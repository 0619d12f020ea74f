//! Creel catches every HTTP request sent to it, keeps it, answers it, and shows it at once to everyone
//! who watches, on whichever node they are connected.
//!
//! The modules, in layers; a module uses only those below it (`ARCHITECTURE.md` tells the whole):
//!
//! | layer | modules |
//! | --- | --- |
//! | 7 | `cli` |
//! | 6 | `app` |
//! | 5 | `http` |
//! | 4 | `access`, `intake`, `feed`, `upkeep`, `presence`, `inquiry`, `runs` |
//! | 3 | `storage` |
//! | 2 | `database`, `broker`, `config`, `metrics`, `tally`, `sites`, `client` |
//! | 1 | `rules`, `claims`, `export` |
//! | 0 | `model`, `clock`, `shutdown` |

pub mod access;
pub mod app;
pub mod broker;
pub mod claims;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod database;
pub mod export;
pub mod feed;
pub mod http;
pub mod inquiry;
pub mod intake;
pub mod metrics;
pub mod model;
pub mod presence;
pub mod rules;
pub mod runs;
pub mod shutdown;
pub mod sites;
pub mod storage;
pub mod tally;
pub mod upkeep;
