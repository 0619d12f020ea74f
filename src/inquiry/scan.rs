//! One look through the journal.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::places::{Stretch, few_places, page_of};
use super::{Inquiries, InquiryError, Turn};
use crate::database::DatabaseError;
use crate::model::{BodyContent, Capture, Cursor, Filter, Since};
use crate::rules::{Expression, Seen};
use crate::storage::journal::{self, Order};
use crate::storage::scans::{self, Window};
use crate::storage::width::{WIDTH_MAX, next_width};
use crate::storage::{self};

/// Captures of one query, and of one that reads bodies.
const PAGE: u32 = 256;
const PAGE_WITH_BODIES: u32 = 128;

/// Places of the journal that the first query may look at.
const WINDOW_FIRST: i64 = 1_024;
/// An index leads to the captures of one endpoint, so that those of others are not looked at.
const WINDOW_OF_ONE_MAX: i64 = 1 << 40;

/// How long captures are judged before others on this thread have their turn.
const STRETCH: Duration = Duration::from_millis(5);

/// What is asked.
#[derive(Debug, Clone)]
pub struct Question {
    /// Endpoints, within those that whoever asks may see.
    pub filter: Filter,
    pub since: Since,
    /// Received before, in microseconds.
    pub until_us: Option<i64>,
    pub expression: Arc<Expression>,
    pub order: Order,
    /// Where the answer before this one ended.
    pub behind: Option<Cursor>,
}

/// Who is handed what matches.
pub trait Judge {
    /// Whether any capture's body may be looked into.
    fn looks_into_body(&self) -> bool;

    /// Whether this one's body is needed; asked of those in parts, with their beginning.
    fn needs_body(&self, seen: &Seen<'_>) -> bool;

    /// Takes the next capture; a break ends the look behind it.
    fn take(&mut self, seq: i64, capture: &Arc<Capture>, seen: &Seen<'_>) -> ControlFlow<()>;
}

/// How far a look came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Captures that were looked at, whether they matched or not.
    pub scanned: u64,
    /// Captures of which it took too long to tell whether they match: they were handed to nobody.
    pub gave_up: u64,
    /// Where to go on; None where everything was looked at.
    pub next: Option<Cursor>,
}

impl Inquiries {
    /// Looks at all that is asked about and was committed before, in its order, within the limits of an answer.
    ///
    /// # Errors
    /// Where a cursor is not of this journal, or the database does not answer.
    pub async fn look(
        &self,
        _turn: &Turn<'_>,
        question: &Question,
        judge: &mut impl Judge,
    ) -> Result<Found, InquiryError> {
        let mut look = Look {
            inquiries: self,
            question,
            bodies: question.expression.looks_into_body() || judge.looks_into_body(),
            began: Instant::now(),
            rested: Instant::now(),
            window: WINDOW_FIRST,
            places: None,
            scanned: 0,
            gave_up: 0,
            head: Cursor::default(),
        };
        let found = look.run(judge).await;
        self.metrics.inquiry_captures.inc_by(look.scanned);
        found
    }
}

struct Look<'a> {
    inquiries: &'a Inquiries,
    question: &'a Question,
    bodies: bool,
    began: Instant,
    /// When others last had their turn.
    rested: Instant,
    /// Rows that the next query may look at.
    window: i64,
    /// The places at which there may be what is asked about, where they are few.
    places: Option<Vec<i64>>,
    scanned: u64,
    gave_up: u64,
    /// The newest entry's place.
    head: Cursor,
}

impl Look<'_> {
    async fn run(&mut self, judge: &mut impl Judge) -> Result<Found, InquiryError> {
        let Self { inquiries, question, .. } = *self;
        let database = inquiries.database.as_ref();
        let Some(mut left) = self.whole().await? else { return Ok(self.complete()) };
        let only = question.filter.narrowed();
        if let Some(endpoint) = only.endpoint {
            left.behind = left.behind.max(scans::floor_of(database, endpoint).await?);
        }
        if only.endpoint.is_none() && left.upto - left.behind > WINDOW_FIRST {
            self.places = few_places(database, &only).await?;
        }
        let limit = if self.bodies { PAGE_WITH_BODIES } else { PAGE };
        while left.behind < left.upto {
            let (now, places) = match &self.places {
                Some(places) => match page_of(places, left, question.order, limit as usize) {
                    Some((now, places)) => (now, Some(places)),
                    None => break,
                },
                None => (self.next_window(left), None),
            };
            let asked = Instant::now();
            let page = Window {
                endpoint: only.endpoint,
                places,
                patterns: only.patterns,
                behind: now.behind,
                upto: now.upto,
                from_us: self.since_us(),
                until_us: question.until_us.unwrap_or(i64::MAX),
                order: question.order,
                bodies: self.bodies,
                limit,
            };
            let captures = scans::list(database, &page).await?;
            let is_full = captures.len() == limit as usize;
            let is_empty = captures.is_empty();
            let full_page = match (captures.first(), captures.last()) {
                (Some((first, _)), Some((last, _))) if is_full => Some((last - first).abs()),
                _ => None,
            };
            let most = if only.endpoint.is_some() { WINDOW_OF_ONE_MAX } else { WIDTH_MAX };
            self.window = next_width(self.window, asked.elapsed(), full_page, most);
            for (seq, capture) in captures {
                left = self.without(left, seq);
                let flow = self.judge(judge, seq, &capture).await?;
                let is_over = self.scanned >= inquiries.options.scan_max || self.is_out_of_time();
                // What may follow is not looked for: of entries that they may not see, nobody is told.
                if flow.is_break() || is_over {
                    return Ok(self.ended(Cursor::behind(self.head.epoch, seq, capture.id)));
                }
            }
            if !is_full {
                left = match question.order {
                    Order::OldestFirst => Stretch { behind: now.upto, ..left },
                    Order::NewestFirst => Stretch { upto: now.behind, ..left },
                };
            }
            if is_empty && self.places.is_none() {
                left = self.over_the_gap(left).await?;
            }
            if self.is_out_of_time() && left.behind < left.upto {
                return Ok(self.ended(self.place_of(left)));
            }
        }
        Ok(self.complete())
    }

    /// All that is asked about; None where there is nothing.
    async fn whole(&mut self) -> Result<Option<Stretch>, InquiryError> {
        let Self { inquiries, question, .. } = *self;
        let database = inquiries.database.as_ref();
        let head = journal::head(database).await?;
        self.head = Cursor { epoch: head.epoch, seq: head.seq, digest: 0 };
        let mut left = Stretch { behind: 0, upto: head.seq };
        match question.since {
            Since::Now => left.behind = head.seq,
            Since::Earliest => {}
            Since::Time(us) => left.behind = journal::first_place_at(database, us).await? - 1,
            Since::Cursor(cursor) => left.behind = self.check(cursor).await?,
        }
        if let Some(us) = question.until_us {
            left.upto = left.upto.min(journal::last_place_before(database, us).await?);
        }
        if let Some(cursor) = question.behind {
            let place = self.check(cursor).await?;
            match question.order {
                Order::OldestFirst => left.behind = left.behind.max(place),
                Order::NewestFirst => left.upto = left.upto.min(place - 1),
            }
        }
        if !question.filter.narrowed().is_possible {
            return Ok(None);
        }
        Ok(Some(left))
    }

    /// A cursor's place, where it is of this journal.
    async fn check(&self, cursor: Cursor) -> Result<i64, InquiryError> {
        // One past the end is of a journal that was restored since to an earlier state.
        if cursor.epoch != self.head.epoch || cursor.seq > self.head.seq {
            return Err(InquiryError::ForeignCursor);
        }
        let id = journal::find_id(self.inquiries.database.as_ref(), cursor.seq).await?;
        if id.is_some_and(|id| !cursor.fits(id)) {
            return Err(InquiryError::ForeignCursor);
        }
        Ok(cursor.seq)
    }

    fn since_us(&self) -> i64 {
        match self.question.since {
            Since::Time(us) => us,
            _ => i64::MIN,
        }
    }

    /// What the next query looks at.
    fn next_window(&self, left: Stretch) -> Stretch {
        let rows = self.window;
        match self.question.order {
            Order::OldestFirst => Stretch { upto: left.upto.min(left.behind.saturating_add(rows)), ..left },
            Order::NewestFirst => Stretch { behind: left.behind.max(left.upto.saturating_sub(rows)), ..left },
        }
    }

    /// What is left once a place was looked at.
    fn without(&self, left: Stretch, seq: i64) -> Stretch {
        match self.question.order {
            Order::OldestFirst => Stretch { behind: seq, ..left },
            Order::NewestFirst => Stretch { upto: seq - 1, ..left },
        }
    }

    /// What is left where all up to the next entry is gone: retention leaves wide gaps.
    async fn over_the_gap(&self, left: Stretch) -> Result<Stretch, DatabaseError> {
        let database = self.inquiries.database.as_ref();
        Ok(match self.question.order {
            Order::OldestFirst => {
                let next = scans::next_place(database, left.behind).await?.unwrap_or(i64::MAX);
                Stretch { behind: left.upto.min(next - 1).max(left.behind), ..left }
            }
            Order::NewestFirst => {
                let before = scans::place_before(database, left.upto).await?.unwrap_or_default();
                Stretch { upto: before.max(left.behind), ..left }
            }
        })
    }

    /// The cursor of a place at which there need be no entry.
    fn place_of(&self, left: Stretch) -> Cursor {
        let seq = match self.question.order {
            Order::OldestFirst => left.behind,
            Order::NewestFirst => left.upto + 1,
        };
        Cursor { seq, digest: 0, ..self.head }
    }

    /// Also where the node stops: the answer says where to go on, on another.
    fn is_out_of_time(&self) -> bool {
        self.began.elapsed() >= self.inquiries.options.scan_time_max || self.inquiries.shutdown.is_draining()
    }

    /// Hands a capture over where it matches.
    async fn judge(
        &mut self,
        judge: &mut impl Judge,
        seq: i64,
        capture: &Arc<Capture>,
    ) -> Result<ControlFlow<()>, DatabaseError> {
        if !self.question.filter.passes_endpoint(capture.endpoint.as_str()) {
            self.scanned += 1;
            return Ok(ControlFlow::Continue(()));
        }
        if self.rested.elapsed() > STRETCH {
            tokio::task::yield_now().await;
            self.rested = Instant::now();
        }
        self.scanned += 1;
        let (BodyContent::Inline(start) | BodyContent::Parts { start }) = &capture.body.content;
        let mut body = start.clone();
        if matches!(capture.body.content, BodyContent::Parts { .. }) && self.bodies {
            let is_needed = {
                let seen = Seen::in_inquiry(capture, start);
                match self.question.expression.decided_without_body(&seen) {
                    _ if seen.gave_up() => true,
                    Some(false) => return Ok(ControlFlow::Continue(())),
                    Some(true) => judge.needs_body(&seen) || seen.gave_up(),
                    None => true,
                }
            };
            if is_needed {
                let Inquiries { database, options, .. } = self.inquiries;
                body =
                    storage::bodies::read_start(database.as_ref(), capture, options.body_bytes_max).await?;
            }
        }
        let seen = Seen::in_inquiry(capture, &body);
        match seen.in_time(|seen| self.question.expression.matches(seen)) {
            Some(true) => return Ok(judge.take(seq, capture, &seen)),
            Some(false) => {}
            None => self.gave_up += 1,
        }
        Ok(ControlFlow::Continue(()))
    }

    fn complete(&self) -> Found {
        self.found(None)
    }

    fn ended(&self, next: Cursor) -> Found {
        self.found(Some(next))
    }

    fn found(&self, next: Option<Cursor>) -> Found {
        Found { scanned: self.scanned, gave_up: self.gave_up, next }
    }
}
