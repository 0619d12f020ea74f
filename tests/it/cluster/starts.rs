//! Several nodes on one database: who migrates it, and what each shows of what another has answered.

use libtest_mimic::Trial;

use super::{PATIENCE, kept};
use crate::harness::client::Load;
use crate::harness::node::Node;
use crate::harness::pages::is_in_page;
use crate::harness::servers::shared_postgres;
use crate::harness::{Needs, TestResult, eventually, trials};

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::POSTGRES =>
            three_nodes_that_start_at_once_migrate_once,
            every_node_shows_what_any_has_answered_until_it_is_removed,
            a_node_that_may_not_migrate_refuses_an_empty_database;
    }
}

async fn three_nodes_that_start_at_once_migrate_once() -> TestResult {
    let database = shared_postgres().await?;
    let builder = Node::builder().database(database.url());
    let (a, b, c) = tokio::join!(builder.start(), builder.start(), builder.start());
    let nodes = [a?, b?, c?];
    let migrated = nodes.iter().filter(|node| node.log().contains("brought up to date")).count();
    assert_eq!(migrated, 1, "one node has migrated, the others have waited");
    let addresses: Vec<String> = nodes.iter().map(Node::address).collect();
    let load = Load::start(6, &addresses, "/r/a");
    eventually(PATIENCE, "captures", || async { load.acknowledged() >= 60 }).await;
    let sent = load.stop().await;
    assert_eq!((sent.broken, sent.refused.len()), (0, 0));
    assert_eq!(kept(&nodes[2]).await?, i64::try_from(sent.acknowledged.len())?);
    Ok(())
}

/// Their answers stand in pages that lie over each other.
async fn every_node_shows_what_any_has_answered_until_it_is_removed() -> TestResult {
    let database = shared_postgres().await?;
    let builder = Node::builder().database(database.url());
    let nodes = [builder.start().await?, builder.start().await?];
    let mut ids = Vec::new();
    for i in 0..60 {
        ids.push(nodes[i % 2].post(&format!("/r/{}", ["a", "b", "c"][i / 2 % 3]), "x").await?);
    }
    let answered = |node: usize, id: String| {
        let node = &nodes[node];
        async move {
            let capture = node.json(&format!("/api/captures/{id}")).await.ok()?;
            Some(capture["answer"]["body"]["content"].as_str()?.contains(&id))
        }
    };
    for (i, id) in ids.iter().enumerate() {
        eventually(PATIENCE, "the other one shows it", || async {
            answered((i + 1) % 2, id.clone()).await == Some(true)
        })
        .await;
    }
    let (gone, left): (Vec<_>, Vec<_>) = (0..).zip(&ids).partition(|(i, _)| i % 7 == 0);
    for (i, id) in &gone {
        let node = &nodes[i / 7 % 2];
        let removed = node.http().delete(node.url(&format!("/api/captures/{id}"))).send().await?;
        assert_eq!(removed.status(), 204);
    }
    for (i, id) in left {
        assert_eq!(answered(i % 2, id.clone()).await, Some(true), "{i}");
    }
    let (client, connection) = tokio_postgres::connect(database.url(), tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    let pages = client.query("SELECT content FROM answer_pages", &[]).await?;
    let pages: Vec<Vec<u8>> = pages.iter().map(|row| row.get(0)).collect();
    for (i, id) in ids.iter().enumerate() {
        let is_kept = pages.iter().map(|page| is_in_page(page, id)).collect::<TestResult<Vec<_>>>()?;
        assert_eq!(
            is_kept.contains(&true),
            i % 7 != 0,
            "{i}: what was removed, and nothing else, is not there"
        );
    }
    Ok(())
}

async fn a_node_that_may_not_migrate_refuses_an_empty_database() -> TestResult {
    let database = shared_postgres().await?;
    for careful in [Node::builder().database(database.url()), Node::builder()] {
        let refused = careful.setting("database.migrate", "off").start().await;
        let Err(refused) = refused else { return Err("it has started".into()) };
        let message = refused.to_string();
        assert!(message.contains("exit status: 1"), "it ends: {message}");
        assert!(message.contains("`creel migrate`"), "and says what to do: {message}");
    }
    // Nothing was made of it; one that may migrate makes it good for the other.
    let careful = Node::builder().database(database.url()).setting("database.migrate", "off");
    assert!(careful.start().await.is_err());
    Node::builder().database(database.url()).start().await?;
    careful.start().await.map(drop)
}
