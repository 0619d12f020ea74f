//! Tokens, tickets and keys, as nodes share them.

use creel::model::limits::TOKENS_MAX;
use creel::model::run::Run;
use creel::model::token::TokenOrder;
use creel::model::{Glob, Scope};
use creel::storage::tickets::Ticket;
use creel::storage::tokens::{NotMade, Token};
use creel::storage::{runs, secrets, tickets, tokens};
use futures_util::future::{join_all, try_join_all};

use super::*;

fn token(name: &str, expires_in_s: Option<u64>) -> Token {
    let order = TokenOrder::parse(name.to_owned(), "write", Some("ci-*"), expires_in_s);
    Token::of(order.expect("there can be such a token"), NOON_US)
}

/// The digest of a secret, as it could be.
fn hash(number: u8) -> [u8; 32] {
    [number; 32]
}

pub async fn a_token_is_live_until_it_is_revoked_or_expires(site: &Site) -> TestResult {
    let database = site.open();
    let before = tokens::version(&*database).await?;
    let (lasting, short) = (token("lasting", None), token("short", Some(60)));
    assert_eq!(tokens::create(&*database, &lasting, None, &hash(1)).await?, Ok(()));
    assert_eq!(tokens::create(&*database, &short, None, &hash(2)).await?, Ok(()));
    assert_eq!(tokens::version(&*database).await?, before + 2, "each change is seen at a glance");
    let live = async |now_us| -> TestResult<Vec<String>> {
        Ok(tokens::list_live(&*database, now_us).await?.into_iter().map(|token| token.id).collect())
    };
    assert_eq!(live(NOON_US + 59_999_999).await?.len(), 2);
    assert_eq!(live(NOON_US + 60_000_000).await?, std::slice::from_ref(&lasting.id));
    let found = &tokens::list_live(&*database, NOON_US).await?;
    let found = found.iter().find(|found| found.id == short.id).ok_or("it is not there")?;
    assert_eq!((found.hash.as_slice(), found.scope), (hash(2).as_slice(), Scope::Write));
    assert_eq!(found.pattern, Some(Glob::parse("ci-*")?));

    let of_all = join_all((0..4).map(|_| tokens::revoke(&*database, &lasting.id, NOON_US + 1))).await;
    assert_eq!(
        of_all.into_iter().filter(|revoked| revoked.as_ref().is_ok_and(|ids| !ids.is_empty())).count(),
        1
    );
    assert!(tokens::revoke(&*database, "nothing", NOON_US).await?.is_empty());
    assert_eq!(live(NOON_US).await?, std::slice::from_ref(&short.id));
    let mut listed = tokens::list(&*database, None, 10).await?;
    listed.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(listed, [Token { revoked_us: Some(NOON_US + 1), ..lasting }, short.clone()]);

    // What is long over goes when the next one is made.
    let mut next = token("next", None);
    next.created_us = NOON_US + 32 * 86_400_000_000;
    assert_eq!(tokens::create(&*database, &next, None, &hash(3)).await?, Ok(()));
    assert_eq!(tokens::list(&*database, None, 10).await?, [next]);
    Ok(())
}

/// A node takes a mark that was raised for "there was a token once", and asks for one from then on.
pub async fn what_changes_no_token_raises_no_mark(site: &Site) -> TestResult {
    let database = site.open();
    let before = tokens::version(&*database).await?;
    assert!(tokens::revoke(&*database, "nothing", NOON_US).await?.is_empty());
    let refused = tokens::create(&*database, &token("refused", None), Some("nobody"), &hash(1)).await?;
    assert_eq!(refused, Err(NotMade::MakerIsOver));
    assert_eq!(tokens::version(&*database).await?, before);
    let made = token("made", None);
    assert_eq!(tokens::create(&*database, &made, None, &hash(2)).await?, Ok(()));
    assert_eq!(tokens::version(&*database).await?, before + 1);
    for _ in 0..2 {
        tokens::revoke(&*database, &made.id, NOON_US).await?;
        assert!(tokens::version(&*database).await? > before + 1);
    }
    Ok(())
}

pub async fn no_more_tokens_are_made_than_nodes_hold(site: &Site) -> TestResult {
    const FILL: Sql = Sql {
        postgres: "INSERT INTO tokens (id, name, hash, scope, created_us) \
                   SELECT 'filler ' || i, 'a', decode(lpad(to_hex(i), 64, '0'), 'hex'), 'read', 0 \
                   FROM generate_series(1, CAST($1 AS BIGINT)) AS i",
        sqlite: "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1) \
                 INSERT INTO tokens (id, name, hash, scope, created_us) \
                 SELECT 'filler ' || i, 'a', CAST(printf('%032d', i) AS BLOB), 'read', 0 FROM n",
    };
    let database = site.open();
    database.execute(&FILL, &[Value::Int(i64::from(TOKENS_MAX) - 1)]).await?;
    let first = token("first", None);
    assert_eq!(tokens::create(&*database, &first, None, &hash(1)).await?, Ok(()));
    let second = tokens::create(&*database, &token("second", None), Some(&first.id), &hash(2)).await?;
    assert_eq!(second, Err(NotMade::Full));
    assert_eq!(tokens::list_live(&*database, NOON_US).await?.len(), TOKENS_MAX as usize);
    assert_eq!(tokens::revoke(&*database, &first.id, NOON_US).await?, std::slice::from_ref(&first.id));
    assert_eq!(tokens::create(&*database, &token("third", None), None, &hash(3)).await?, Ok(()));
    Ok(())
}

pub async fn what_is_over_makes_no_token(site: &Site) -> TestResult {
    let database = site.open();
    let (maker, short) = (token("maker", None), token("short", Some(60)));
    tokens::make(&*database, &maker, None).await?.map_err(|why| format!("{why:?}"))?;
    assert_eq!(tokens::create(&*database, &short, Some(&maker.id), &hash(1)).await?, Ok(()));
    let mut late = token("late", None);
    late.created_us = NOON_US + 60_000_000;
    for maker in [short.id.as_str(), "nobody"] {
        let made = tokens::create(&*database, &late, Some(maker), &hash(2)).await?;
        assert_eq!(made, Err(NotMade::MakerIsOver), "{maker}");
    }
    // Whichever comes first, a token that is revoked, and one that it makes for a run, are not both there afterwards.
    for number in 10..30 {
        let opener = token("opener", None);
        assert_eq!(tokens::create(&*database, &opener, None, &hash(number)).await?, Ok(()));
        let own = token("own", None);
        let run = Run {
            id: own.id.clone(),
            prefix: format!("run-{number}-"),
            token: Some(own.id.clone()),
            opened_by: Some(opener.id.clone()),
            ..super::runs::run(number)
        };
        assert!(runs::open(&*database, run, 1_000).await?.is_some());
        let hash = hash(100 + number);
        let (made, revoked) = tokio::join!(
            tokens::create(&*database, &own, Some(&opener.id), &hash),
            tokens::revoke(&*database, &opener.id, NOON_US)
        );
        let revoked = revoked?;
        assert!(revoked.contains(&opener.id), "{revoked:?}");
        assert_eq!(made?.is_ok(), revoked.contains(&own.id), "{revoked:?}");
        let live = tokens::list_live(&*database, NOON_US).await?;
        assert!(live.iter().all(|live| live.id != own.id && live.id != opener.id));
    }
    Ok(())
}

pub async fn of_all_that_claim_a_ticket_one_has_it(site: &Site) -> TestResult {
    let nodes = [site.open(), site.open()];
    let ticket =
        Ticket { holder: "someone".to_owned(), scope: Scope::Read, pattern: Some(Glob::parse("ci-*")?) };
    let until_us = NOON_US + 30_000_000;
    for number in 0..10 {
        assert!(tickets::create(&*nodes[0], &ticket, &hash(number), NOON_US, until_us).await?);
        let secret = hash(number);
        let claims = try_join_all((0..4).map(|i| tickets::claim(&*nodes[i % 2], &secret, NOON_US))).await?;
        let claimed: Vec<Ticket> = claims.into_iter().flatten().collect();
        assert_eq!(claimed.len(), 1);
        assert_eq!((claimed[0].holder.as_str(), claimed[0].scope), ("someone", Scope::Read));
        assert_eq!(claimed[0].pattern, ticket.pattern);
    }
    assert!(tickets::create(&*nodes[0], &ticket, &hash(99), NOON_US, until_us).await?);
    assert!(tickets::claim(&*nodes[0], &hash(98), NOON_US).await?.is_none());
    assert!(tickets::claim(&*nodes[0], &hash(99), until_us).await?.is_none(), "half a minute is over");
    assert!(tickets::create(&*nodes[0], &ticket, &hash(97), until_us, until_us + 1).await?);
    const COUNT: Sql = Sql::same("SELECT count(*) FROM tickets");
    assert_eq!(int(&*nodes[0], &COUNT, &[]).await?, 1, "what is over is swept");
    Ok(())
}

pub async fn nodes_that_start_at_once_agree_on_a_key(site: &Site) -> TestResult {
    let nodes: Vec<_> = (0..4).map(|_| site.open()).collect();
    let keys = nodes
        .iter()
        .zip(1u8..)
        .map(async |(node, number)| secrets::find_or_keep(&**node, "cluster", &hash(number)).await);
    let keys = try_join_all(keys).await?;
    assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    assert_eq!(secrets::find_or_keep(&*nodes[0], "cluster", &hash(9)).await?, keys[0]);
    Ok(())
}

pub async fn no_holder_takes_the_room_of_all_others(site: &Site) -> TestResult {
    const FILL: Sql = Sql {
        postgres: "INSERT INTO tickets (hash, holder, scope, expires_us) \
                   SELECT decode(lpad(to_hex(i), 64, '0'), 'hex'), 'greedy', 'read', $2 \
                   FROM generate_series(1, CAST($1 AS BIGINT)) AS i",
        sqlite: "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1) \
                 INSERT INTO tickets (hash, holder, scope, expires_us) \
                 SELECT CAST(printf('%032d', i) AS BLOB), 'greedy', 'read', $2 FROM n",
    };
    let database = site.open();
    database.execute(&FILL, &[Value::Int(1000), Value::Int(NOON_US + 1)]).await?;
    let of = |holder: &str| Ticket { holder: holder.to_owned(), scope: Scope::Read, pattern: None };
    assert!(!tickets::create(&*database, &of("greedy"), &hash(1), NOON_US, NOON_US + 1).await?);
    assert!(tickets::create(&*database, &of("modest"), &hash(2), NOON_US, NOON_US + 1).await?);
    let later = NOON_US + 1;
    assert!(tickets::create(&*database, &of("greedy"), &hash(3), later, later + 1).await?);
    Ok(())
}
