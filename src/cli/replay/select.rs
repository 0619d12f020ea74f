//! Which captures are replayed: those that are named, or those that are found.

use super::ReplayArgs;
use crate::cli::exit::{Failed, Outcome};
use crate::cli::inquiry::check_place;
use crate::cli::inquiry::find::Finder;
use crate::cli::session::Session;
use crate::cli::show;
use crate::client::ShownCapture;

/// All of them, without what is large of them.
pub async fn select(args: &ReplayArgs, session: &Session) -> Outcome<Vec<ShownCapture>> {
    if args.looks_for() {
        return find(args, session).await;
    }
    if args.ids.is_empty() {
        return Err(Failed::usage("say what to replay: ids of captures, --match, --endpoint or --run"));
    }
    if args.ids.len() > args.limit as usize {
        return Err(Failed::usage(format!(
            "more than {} captures are named; --limit allows more",
            args.limit
        )));
    }
    let mut captures = Vec::new();
    for id in &args.ids {
        captures.push(session.api.capture(id).await?);
    }
    Ok(captures)
}

async fn find(args: &ReplayArgs, session: &Session) -> Outcome<Vec<ShownCapture>> {
    let limit = args.limit as usize;
    let mut order = args.which.members(&args.endpoints).await?;
    if check_place(&order).is_err() {
        order.insert("since".to_owned(), "earliest".into());
    }
    if let Some(until) = &args.until {
        order.insert("until".to_owned(), until.as_str().into());
    }
    order.insert("body".to_owned(), "none".into());
    // One more than wanted tells whether there are more.
    let mut finder = Finder::new(order, limit + 1);
    let mut captures: Vec<ShownCapture> = Vec::new();
    while let Some(page) = finder.next(session).await? {
        for shown in page["captures"].as_array().into_iter().flatten() {
            captures.push(show::read(shown)?);
        }
    }
    if captures.len() > limit {
        captures.truncate(limit);
        session.terminal.warn(&format!("there are more; the first {limit} are sent (--limit)"));
    }
    Ok(captures)
}
