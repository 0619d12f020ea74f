//! Several nodes, one journal: every subscriber, on whichever node, sees each capture exactly once, in
//! order, with nothing missing, whatever happens to the broker, to a node or to the subscriber.

use std::time::Duration;

use libtest_mimic::Trial;

use crate::harness::TestResult;
use crate::harness::client::{Framing, Load, Reader, Sent, Subscriber, check_stream};
use crate::harness::eventually;
use crate::harness::node::{Node, NodeBuilder};
use crate::harness::servers::{TestDatabase, shared_postgres, topic_prefix};

mod brokers;
mod starts;
mod subscribers;

const SENDERS: usize = 32;
const CAPTURES: u64 = 10_000;
const PATIENCE: Duration = Duration::from_secs(90);
const TARGET: &str = "/r/a?x=%2F&y";

pub fn trials() -> Vec<Trial> {
    [brokers::trials(), subscribers::trials(), starts::trials()].into_iter().flatten().collect()
}

/// Two nodes behind one broker, and a subscriber on each.
struct Cluster {
    nodes: Vec<Node>,
    subscribers: Vec<Subscriber>,
    _database: TestDatabase,
}

impl Cluster {
    async fn start(broker: &str, adjust: impl Fn(NodeBuilder) -> NodeBuilder) -> TestResult<Self> {
        let database = shared_postgres().await?;
        let builder = Node::builder()
            .database(database.url())
            .broker(broker)
            .setting("broker.topic_prefix", topic_prefix())
            .setting("log.level", "warn");
        let builder = adjust(builder);
        let nodes = vec![builder.start().await?, builder.start().await?];
        let mut cluster = Self { nodes, subscribers: Vec::new(), _database: database };
        cluster.broker_is_up().await;
        for node in &cluster.nodes {
            cluster.subscribers.push(watch(node).await?);
        }
        Ok(cluster)
    }

    fn load(&self) -> Load {
        Load::start(SENDERS, &self.addresses(), TARGET)
    }

    fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(Node::address).collect()
    }

    async fn broker_is_up(&self) {
        for node in &self.nodes {
            eventually(PATIENCE, "the broker is connected", || async {
                node.metric("creel_broker_up").await.is_ok_and(|up| up == 1.0)
            })
            .await;
        }
    }

    /// Every subscriber has, or gets, everything that was kept: what was acknowledged, and what was not
    /// but is in the journal.
    async fn check(&self, readers: Vec<Reader>, sent: &Sent) -> TestResult {
        let last = kept(&self.nodes[0]).await?;
        for reader in readers {
            check_stream(&reader.read_up_to(last, PATIENCE).await?, sent, last)?;
        }
        Ok(())
    }

    /// The subscribers, which from now on read whatever comes.
    fn readers(&mut self) -> Vec<Reader> {
        self.subscribers.drain(..).map(Reader::start).collect()
    }

    async fn sum(&self, metric: &str, labels: &[(&str, &str)]) -> TestResult<f64> {
        let mut sum = 0.0;
        for node in &self.nodes {
            sum += node.metric_with(metric, labels).await?;
        }
        Ok(sum)
    }
}

/// A subscriber whose place is taken: what is sent from now on it sees.
async fn watch(node: &Node) -> TestResult<Subscriber> {
    let mut subscriber = Subscriber::open(Framing::WebSocket, &node.address(), "endpoint=a").await?;
    subscriber.read_until(PATIENCE, |message| message["type"] == "ready").await?;
    Ok(subscriber)
}

/// The journal's last number, which is the number of captures: nothing else was written.
async fn kept(node: &Node) -> TestResult<i64> {
    let page = node.json("/api/captures?limit=1&body=none").await?;
    page["captures"][0]["seq"].as_i64().ok_or_else(|| format!("no capture: {page}").into())
}
