//! Reports: how much was caught when, by what, and by which endpoints the most.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::query::{Query, invalid};
use crate::config;
use crate::http::problem::Problem;
use crate::http::state::State;
use crate::model::Glob;
use crate::model::report::{BusiestBy, GroupBy, Span};
use crate::model::time::rfc3339;
use crate::storage;
use crate::storage::reports::{Counted, Report};

/// What is shown without `from`.
const TIME_US: i64 = 86_400_000_000;

/// Endpoints listed without `top`.
const TOP: u32 = 20;

/// A range of time, in microseconds, both ends between two spans.
struct Range {
    /// Where it was asked to begin.
    asked_us: i64,
    from_us: i64,
    until_us: i64,
}

#[derive(Serialize)]
struct Captures {
    from: String,
    until: String,
    bucket: &'static str,
    by: Option<&'static str>,
    rows: Vec<Map<String, Value>>,
    /// What is in none of the groups that have rows, by bucket.
    other: Vec<Map<String, Value>>,
}

#[derive(Serialize)]
struct Endpoints {
    from: String,
    until: String,
    order: &'static str,
    endpoints: Vec<Endpoint>,
    other: Sums,
}

#[derive(Serialize)]
struct Endpoint {
    endpoint: String,
    captures: i64,
    bytes: i64,
}

#[derive(Serialize, Default)]
struct Sums {
    captures: i64,
    bytes: i64,
}

/// Captures and bytes by bucket of time, and by group where that is asked for.
pub async fn captures(request: HttpRequest, state: web::Data<State>) -> Result<HttpResponse, Problem> {
    let names = ["from", "until", "bucket", "by", "endpoint", "top"];
    let query = Query::parse(request.query_string(), &names, &[])?;
    let settings = &state.settings.reports;
    let now_us = state.clock.now_us();
    let bucket =
        query.parsed("bucket", |name| Span::parse(name).ok_or("`minute`, `hour` or `day` is expected"))?;
    let bucket = bucket.unwrap_or(Span::Hour);
    let range = range(&query, now_us, |_| bucket)?;
    let finest = finest(settings, now_us, range.asked_us);
    if bucket < finest {
        let finest = finest.name();
        return Err(invalid(
            "bucket",
            format!("so far back there are no {}s; ask for `{finest}`", bucket.name()),
        ));
    }
    let rows_max = settings.answer_rows_max;
    let report = Report {
        from_us: range.from_us,
        until_us: range.until_us,
        bucket,
        by: query.parsed("by", |name| {
            GroupBy::parse(name).ok_or("`endpoint`, `method`, `status` or `rule` is expected")
        })?,
        endpoint: query.parsed("endpoint", Glob::parse)?,
        top: top(&query, rows_max)?.unwrap_or(rows_max),
        rows_max: rows_max.saturating_add(1),
    };
    let counted = storage::reports::captures(state.database.as_ref(), &report).await?;
    if counted.len() > rows_max as usize {
        return Err(invalid(
            "bucket",
            format!(
                "the answer would have over {rows_max} rows (`reports.answer_rows_max`); ask for a wider one, a \
                 shorter time or a smaller `top`"
            ),
        ));
    }
    let (rows, other): (Vec<&Counted>, Vec<&Counted>) = counted.iter().partition(|row| row.group.is_some());
    Ok(HttpResponse::Ok().json(Captures {
        from: rfc3339(range.from_us),
        until: rfc3339(range.until_us),
        bucket: bucket.name(),
        by: report.by.map(GroupBy::name),
        rows: rows.into_iter().map(|counted| row(counted, report.by)).collect(),
        other: other.into_iter().map(|counted| row(counted, None)).collect(),
    }))
}

/// The busiest endpoints, and what the others come to.
pub async fn endpoints(request: HttpRequest, state: web::Data<State>) -> Result<HttpResponse, Problem> {
    let query = Query::parse(request.query_string(), &["from", "until", "order", "top"], &[])?;
    let settings = &state.settings.reports;
    let now_us = state.clock.now_us();
    let range = range(&query, now_us, |at_us| finest(settings, now_us, at_us))?;
    let order =
        query.parsed("order", |name| BusiestBy::parse(name).ok_or("`captures` or `bytes` is expected"))?;
    let order = order.unwrap_or(BusiestBy::Captures);
    let top = top(&query, settings.answer_rows_max)?.unwrap_or(TOP.min(settings.answer_rows_max));
    let database = state.database.as_ref();
    let mut answer = Endpoints {
        from: rfc3339(range.from_us),
        until: rfc3339(range.until_us),
        order: order.name(),
        endpoints: Vec::new(),
        other: Sums::default(),
    };
    for busy in storage::reports::busiest(database, range.from_us, range.until_us, order, top).await? {
        let (captures, bytes) = (busy.captures, busy.bytes);
        match busy.endpoint {
            Some(endpoint) => answer.endpoints.push(Endpoint { endpoint, captures, bytes }),
            None => answer.other = Sums { captures, bytes },
        }
    }
    Ok(HttpResponse::Ok().json(answer))
}

/// The range that is asked for, made wider to whole spans; which, the span at each end tells.
fn range(query: &Query, now_us: i64, span_at: impl Fn(i64) -> Span) -> Result<Range, Problem> {
    let until_us = query.instant("until")?.unwrap_or(now_us);
    let from_us = query.instant("from")?.unwrap_or(until_us.saturating_sub(TIME_US));
    if from_us >= until_us {
        return Err(invalid("from", "this must be before `until`"));
    }
    Ok(Range {
        asked_us: from_us,
        from_us: span_at(from_us).begin(from_us),
        until_us: span_at(until_us).end(until_us),
    })
}

/// The finest span that is known of a time; finer ones may have been merged.
fn finest(settings: &config::Reports, now_us: i64, at_us: i64) -> Span {
    let age_us = u128::try_from(now_us.saturating_sub(at_us)).unwrap_or_default();
    match age_us {
        age if age <= settings.minutes_age().as_micros() => Span::Minute,
        age if age <= settings.hours_age().as_micros() => Span::Hour,
        _ => Span::Day,
    }
}

fn top(query: &Query, most: u32) -> Result<Option<u32>, Problem> {
    query.parsed("top", |text| match text.parse::<u32>() {
        Ok(top) if (1..=most).contains(&top) => Ok(top),
        _ => Err(format!("a number from 1 to {most} is expected")),
    })
}

/// A row as it is sent: its group stands under the group's name, a status as a number, and no rule as null.
fn row(counted: &Counted, by: Option<GroupBy>) -> Map<String, Value> {
    let mut row = Map::new();
    row.insert("at".to_owned(), rfc3339(counted.at_us).into());
    if let (Some(by), Some(group)) = (by, &counted.group) {
        let value = match by {
            GroupBy::Status => json!(group.parse::<u16>().unwrap_or_default()),
            GroupBy::Rule if group.is_empty() => Value::Null,
            _ => json!(group),
        };
        row.insert(by.name().to_owned(), value);
    }
    row.insert("captures".to_owned(), counted.captures.into());
    row.insert("bytes".to_owned(), counted.bytes.into());
    row
}
