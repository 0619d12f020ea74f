//! Where to look: the stretch of the journal that is asked about, and the places in it, where they are few. The codes
//! of a run begin alike, and may be few among many.

use crate::database::{Database, DatabaseError};
use crate::model::filter::Narrowed;
use crate::storage::journal::Order;
use crate::storage::scans;

/// Entries of endpoints that begin alike that are looked for by the index.
const FEW: u32 = 20_000;

/// The stretch of the journal that is still to be looked at: behind one place, up to another.
#[derive(Debug, Clone, Copy)]
pub struct Stretch {
    pub behind: i64,
    pub upto: i64,
}

/// The places of all entries that may pass, where what they are of begins alike, and they are few.
pub async fn few_places(
    database: &dyn Database,
    only: &Narrowed<'_>,
) -> Result<Option<Vec<i64>>, DatabaseError> {
    let beginnings = only.patterns.iter().flatten().map(|pattern| pattern.beginning());
    match beginnings.max_by_key(|beginning| beginning.len()) {
        Some(beginning) if !beginning.is_empty() => scans::places(database, beginning, FEW).await,
        _ => Ok(None),
    }
}

/// What the next query looks at where all places are known: as many of them as one page has. None where there is none
/// left.
pub fn page_of(places: &[i64], left: Stretch, order: Order, most: usize) -> Option<(Stretch, &[i64])> {
    let first = places.partition_point(|place| *place <= left.behind);
    let end = places.partition_point(|place| *place <= left.upto);
    let places = places.get(first..end).filter(|places| !places.is_empty())?;
    if places.len() <= most {
        return Some((left, places));
    }
    Some(match order {
        Order::OldestFirst => {
            let page = &places[..most];
            (Stretch { upto: page[most - 1], ..left }, page)
        }
        Order::NewestFirst => {
            let page = &places[places.len() - most..];
            (Stretch { behind: page[0] - 1, ..left }, page)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_on_one_page_in_either_order() {
        let places = [2, 3, 5, 8, 9, 20];
        for (order, expected) in
            [(Order::OldestFirst, [vec![3, 5], vec![8, 9]]), (Order::NewestFirst, [vec![8, 9], vec![3, 5]])]
        {
            let (mut left, mut pages) = (Stretch { behind: 2, upto: 19 }, Vec::new());
            while let Some((now, page)) = page_of(&places, left, order, 2) {
                assert!(page.iter().all(|place| *place > now.behind && *place <= now.upto));
                pages.push(page.to_vec());
                match order {
                    Order::OldestFirst => left.behind = now.upto,
                    Order::NewestFirst => left.upto = now.behind,
                }
            }
            assert_eq!(pages, expected);
        }
        assert!(page_of(&places, Stretch { behind: 9, upto: 3 }, Order::OldestFirst, 2).is_none());
    }
}
