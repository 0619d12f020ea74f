//! Which captures are replayed: those that are named, or those that are found.

use hyper::Method;
use serde_json::{Value, json};

use super::ReplayArgs;
use crate::cli::exit::{Failed, Outcome};
use crate::cli::session::Session;
use crate::client::{Ask, ShownCapture};

/// Captures that are asked for at a time.
const PAGE: usize = 100;

/// All of them, without what is large of them.
pub async fn select(args: &ReplayArgs, session: &Session) -> Outcome<Vec<ShownCapture>> {
    if args.looks_for() {
        return find(args, session).await;
    }
    if args.ids.is_empty() {
        return Err(Failed::usage("say what to replay: ids of captures, --filter or --endpoint"));
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
    let mut order = json!({ "since": args.since.as_deref().unwrap_or("earliest"), "body": "none" });
    if !args.endpoints.is_empty() {
        order["endpoint"] = json!(args.endpoints);
    }
    if let Some(until) = &args.until {
        order["until"] = json!(until);
    }
    if let Some(filter) = &args.filter {
        order["match"] = expression(filter)?;
    }
    let mut captures: Vec<ShownCapture> = Vec::new();
    loop {
        // One more than wanted tells whether there are more.
        order["limit"] = json!((limit + 1 - captures.len()).min(PAGE));
        let page = session.api.json(Ask::new(Method::POST, "/api/captures/find").json(&order)).await?;
        for shown in page["captures"].as_array().into_iter().flatten() {
            let capture = ShownCapture::read(shown)
                .map_err(|error| Failed::not(format!("failed to read a capture: {error}")))?;
            captures.push(capture);
        }
        if captures.len() > limit {
            captures.truncate(limit);
            session.terminal.warn(&format!("there are more; the first {limit} are sent (--limit)"));
            return Ok(captures);
        }
        match &page["next"] {
            Value::String(next) if order["since"] != **next => order["since"] = json!(next),
            _ => return Ok(captures),
        }
    }
}

/// JSON stays JSON; all else is the short form, which the node reads.
fn expression(filter: &str) -> Outcome<Value> {
    if !filter.trim_start().starts_with('{') {
        return Ok(json!(filter));
    }
    serde_json::from_str(filter).map_err(|error| Failed::usage(format!("--filter is no JSON: {error}")))
}
