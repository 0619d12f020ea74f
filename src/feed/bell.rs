//! The bell: it wakes those who sleep until something comes for them, and lets the others sleep on. Without it every
//! batch would wake every waiter, a thousand of them for nothing.
//!
//! It goes through the ring once for all. Who wakes, for whatever reason, is told up to where there was nothing for
//! it, and goes on from there by itself: so what the bell does late costs time, and loses nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::model::{Cursor, Entry, Filter};

/// A place in the journal as the hub knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    pub generation: u64,
    pub seq: i64,
    pub cursor: Cursor,
}

impl Place {
    fn is_behind(self, other: Self) -> bool {
        (self.generation, self.seq) < (other.generation, other.seq)
    }
}

#[derive(Default)]
pub struct Bell {
    sleepers: Mutex<Sleepers>,
    /// Told when somebody lies down where nobody slept.
    needed: Notify,
}

/// Somebody's sleep; it ends with the value.
pub struct Sleep {
    bell: Arc<Bell>,
    id: u64,
    rung: Arc<Notify>,
}

#[derive(Default)]
struct Sleepers {
    /// Up to here everything was held against those who sleep.
    place: Place,
    by_id: HashMap<u64, Sleeper>,
    /// Those who want endpoints by their codes alone, by each of these.
    by_code: HashMap<String, Vec<u64>>,
    /// All others.
    wide: Vec<u64>,
    next_id: u64,
}

struct Sleeper {
    filter: Arc<Filter>,
    generation: u64,
    /// Where it lay down.
    seq: i64,
    /// The first entry that came for it.
    wanted: Option<i64>,
    rung: Arc<Notify>,
}

impl Bell {
    /// Where it stands.
    pub fn place(&self) -> Place {
        self.sleepers().place
    }

    /// Wakes those for whom there is something among entries, which go on from where the bell stands to `behind`.
    pub fn pass<'e>(&self, entries: impl Iterator<Item = &'e Entry>, behind: Place) {
        self.sleepers().pass(entries, behind);
    }

    /// Wakes everybody: what there is up to a place, or of another journal, the bell cannot see.
    pub fn wake_all(&self, behind: Place) {
        self.sleepers().wake_all(behind);
    }

    /// Somebody has seen everything up to a place, and sleeps until there is something for it behind. That may be
    /// further than the hub is, whose newest place is told too: the bell is never ahead of it.
    pub fn sleep(self: &Arc<Self>, filter: Arc<Filter>, seen: Place, newest: Place) -> Sleep {
        let rung = Arc::new(Notify::new());
        let mut sleepers = self.sleepers();
        if sleepers.by_id.is_empty() {
            sleepers.pass_over(if seen.is_behind(newest) { seen } else { newest });
            self.needed.notify_one();
        }
        let id = sleepers.lie_down(filter, seen, rung.clone());
        Sleep { bell: self.clone(), id, rung }
    }

    /// Waits until there is somebody to wake.
    pub async fn needed(&self) {
        while self.sleepers().by_id.is_empty() {
            self.needed.notified().await;
        }
    }

    fn sleepers(&self) -> MutexGuard<'_, Sleepers> {
        self.sleepers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sleep {
    /// Waits for the bell. Safe to cancel.
    pub async fn rung(&self) {
        self.rung.notified().await;
    }

    /// Up to where there was nothing for the sleeper; None: no further than where it lay down.
    pub fn passed(&self) -> Option<Place> {
        self.bell.sleepers().passed(self.id)
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.bell.sleepers().rise(self.id);
    }
}

impl Sleepers {
    fn pass<'e>(&mut self, entries: impl Iterator<Item = &'e Entry>, behind: Place) {
        for entry in entries {
            let by_code = entry.endpoint().and_then(|code| self.by_code.get(code));
            for id in by_code.into_iter().flatten().chain(&self.wide) {
                let Some(sleeper) = self.by_id.get_mut(id) else { continue };
                // Numbers say nothing to a sleeper of another journal, who is woken when the bell comes to it.
                let is_of_this = sleeper.generation == behind.generation;
                let is_new = is_of_this && sleeper.wanted.is_none() && sleeper.seq < entry.seq;
                if is_new && sleeper.filter.passes(entry) {
                    sleeper.wake(entry.seq);
                }
            }
        }
        self.place = behind;
    }

    fn wake_all(&mut self, behind: Place) {
        // Numbers of another journal say nothing.
        let from = if behind.generation == self.place.generation { self.place.seq + 1 } else { 0 };
        let asleep = self.by_id.values_mut().filter(|sleeper| sleeper.wanted.is_none());
        asleep.for_each(|sleeper| sleeper.wake(from));
        self.place = behind;
    }

    /// While nobody sleeps, nobody rings: what came meanwhile was for nobody.
    fn pass_over(&mut self, upto: Place) {
        if self.place.is_behind(upto) {
            self.place = upto;
        }
    }

    fn lie_down(&mut self, filter: Arc<Filter>, seen: Place, rung: Arc<Notify>) -> u64 {
        let Place { generation, seq, .. } = seen;
        let id = self.next_id;
        self.next_id += 1;
        match filter.codes() {
            Some(codes) => codes.for_each(|code| self.by_code.entry(code.to_owned()).or_default().push(id)),
            None => self.wide.push(id),
        }
        let mut sleeper = Sleeper { filter, generation, seq, wanted: None, rung };
        // The bell is further: there may be something already. Where it is less far, it will come by.
        if seen.is_behind(self.place) {
            sleeper.wake(0);
        }
        self.by_id.insert(id, sleeper);
        id
    }

    fn passed(&self, id: u64) -> Option<Place> {
        let sleeper = self.by_id.get(&id)?;
        let place = match sleeper.wanted {
            None => self.place,
            Some(wanted) => Place {
                seq: wanted - 1,
                cursor: Cursor { seq: wanted - 1, digest: 0, ..self.place.cursor },
                ..self.place
            },
        };
        (place.generation == sleeper.generation && place.seq > sleeper.seq).then_some(place)
    }

    fn rise(&mut self, id: u64) {
        let Some(sleeper) = self.by_id.remove(&id) else { return };
        match sleeper.filter.codes() {
            Some(codes) => codes.for_each(|code| {
                if let Some(ids) = self.by_code.get_mut(code) {
                    ids.retain(|other| *other != id);
                    if ids.is_empty() {
                        self.by_code.remove(code);
                    }
                }
            }),
            None => self.wide.retain(|other| *other != id),
        }
    }
}

impl Sleeper {
    fn wake(&mut self, wanted: i64) {
        self.wanted = Some(wanted);
        self.rung.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::model::{EndpointCode, EntryKind, Glob, Removal, Removed};

    fn entry(seq: i64, code: &str) -> Entry {
        let endpoint = EndpointCode::parse(code).unwrap();
        let removal = Removal { id: Uuid::nil(), at_us: 0, endpoint, removed: Removed::All, by: None };
        Entry { seq, what: EntryKind::Removal(removal) }
    }

    fn filter(patterns: &[&str]) -> Arc<Filter> {
        let globs = patterns.iter().map(|pattern| Glob::parse(pattern).unwrap()).collect();
        Arc::new(Filter::new(globs, Vec::new()))
    }

    fn place(generation: u64, seq: i64) -> Place {
        Place { generation, seq, cursor: Cursor { epoch: 0, seq, digest: 0 } }
    }

    fn is_rung(sleep: &Sleep) -> bool {
        use futures_util::FutureExt as _;
        sleep.rung().now_or_never().is_some()
    }

    #[test]
    fn those_wake_for_whom_there_is_something_and_nobody_else() {
        let bell = Arc::new(Bell::default());
        bell.wake_all(place(1, 10));
        let sleeps = [&["a"][..], &["b", "c"], &["x", "a*"], &[], &["z"]]
            .map(|patterns| bell.sleep(filter(patterns), place(1, 10), place(1, 10)));
        bell.pass([entry(11, "q"), entry(12, "c"), entry(13, "ab")].iter(), place(1, 13));
        assert_eq!(sleeps.each_ref().map(is_rung), [false, true, true, true, false]);
        let passed = sleeps.each_ref().map(|sleep| sleep.passed().map(|place| place.seq));
        assert_eq!(passed, [Some(13), Some(11), Some(12), None, Some(13)]);
        // Who lies down behind the bell is woken at once; before it, it comes by.
        let (behind, before) = (
            bell.sleep(filter(&["a"]), place(1, 12), place(1, 15)),
            bell.sleep(filter(&["a"]), place(1, 15), place(1, 15)),
        );
        assert_eq!([&behind, &before].map(is_rung), [true, false]);
        bell.pass([entry(15, "a")].iter(), place(1, 15));
        assert!(!is_rung(&before), "it has seen that one");
        bell.pass([entry(16, "a")].iter(), place(1, 16));
        assert!(is_rung(&before) && before.passed().is_none());
        drop((sleeps, behind, before));
        let sleepers = bell.sleepers();
        assert!(sleepers.by_id.is_empty() && sleepers.by_code.is_empty() && sleepers.wide.is_empty());
    }

    #[test]
    fn it_is_needed_while_somebody_sleeps_and_goes_on_from_there() {
        use futures_util::FutureExt as _;
        let bell = Arc::new(Bell::default());
        assert!(bell.needed().now_or_never().is_none());
        let first = bell.sleep(filter(&["a"]), place(1, 500), place(1, 600));
        assert!(bell.needed().now_or_never().is_some());
        assert_eq!(bell.place().seq, 500, "nothing before was for anybody");
        let second = bell.sleep(filter(&["a"]), place(1, 700), place(1, 700));
        assert_eq!(bell.place().seq, 500, "what follows may be for the first");
        drop((first, second));
        assert!(bell.needed().now_or_never().is_none());
        let behind = bell.sleep(filter(&["a"]), place(1, 400), place(1, 700));
        assert!(bell.place().seq == 500 && is_rung(&behind));
        drop(behind);
        // Who comes from a node that is further finds the hub behind, and the bell with it.
        let ahead = bell.sleep(filter(&["a"]), place(1, 900), place(1, 800));
        let other = bell.sleep(filter(&["a"]), place(1, 800), place(1, 800));
        assert_eq!((bell.place().seq, is_rung(&ahead), is_rung(&other)), (800, false, false));
    }

    #[test]
    fn numbers_of_another_journal_say_nothing() {
        let bell = Arc::new(Bell::default());
        bell.wake_all(place(1, 100));
        let sleep = bell.sleep(filter(&["a"]), place(1, 100), place(1, 100));
        bell.wake_all(place(2, 5));
        assert!(is_rung(&sleep) && sleep.passed().is_none());
        // The hub was there before the bell.
        let early = bell.sleep(filter(&["a"]), place(3, 1), place(3, 1));
        bell.pass([entry(6, "a")].iter(), place(2, 6));
        assert!(!is_rung(&early) && early.passed().is_none());
        bell.wake_all(place(3, 2));
        assert!(is_rung(&early) && early.passed().is_none());
    }

    proptest! {
        /// However the bell and a sleeper take turns, nothing is passed over that is wanted, and who sleeps while
        /// something waits is rung.
        #[test]
        fn nothing_is_slept_through(
            codes in prop::collection::vec(0..4usize, 1..40),
            steps in prop::collection::vec((0..3usize, 1..6usize), 1..60),
            patterns in prop::collection::vec(prop::sample::select(vec!["a", "b", "a*", "d"]), 0..3),
        ) {
            let names = ["a", "b", "ab", "c"];
            let entries: Vec<Entry> = (1..).zip(&codes).map(|(seq, code)| entry(seq, names[*code])).collect();
            let (bell, filter) = (Arc::new(Bell::default()), filter(&patterns));
            let is_wanted = |entry: &&Entry| filter.passes(entry);
            let (mut last, mut seen) = (0_usize, 0_usize);
            let mut asleep: Option<Sleep> = None;
            for (step, size) in steps {
                match step {
                    // The hub passes on.
                    0 => last = (last + size).min(entries.len()),
                    // The bell goes on.
                    1 => {
                        let from = usize::try_from(bell.place().seq).unwrap();
                        let upto = (from + size).min(last);
                        bell.pass(entries[from..upto].iter(), place(0, i64::try_from(upto).unwrap()));
                    }
                    // The sleeper wakes, looks, and lies down again.
                    _ => {
                        if let Some(sleep) = asleep.take()
                            && let Some(passed) = sleep.passed()
                        {
                            let upto = usize::try_from(passed.seq).unwrap();
                            prop_assert!(entries[seen..upto].iter().find(is_wanted).is_none());
                            seen = upto;
                        }
                        // What it brings along may be a cursor of a node that is further.
                        seen = seen.max(last);
                        if size == 5 {
                            seen = (seen + 1).min(entries.len());
                        }
                        let places = [seen, last].map(|seq| place(0, i64::try_from(seq).unwrap()));
                        let sleep = bell.sleep(filter.clone(), places[0], places[1]);
                        prop_assert!(!is_rung(&sleep), "there is nothing behind it yet");
                        asleep = Some(sleep);
                    }
                }
                let rung_to = usize::try_from(bell.place().seq).unwrap();
                if let Some(sleep) = &asleep && rung_to > seen && entries[seen..rung_to].iter().any(|e| filter.passes(e)) {
                    prop_assert!(is_rung(sleep));
                    sleep.rung.notify_one();
                }
            }
        }
    }
}
