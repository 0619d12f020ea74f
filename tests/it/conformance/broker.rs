//! The contract of `Broker`, one function a promise, for every broker there is. What only remote brokers
//! can go through is in `outages`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use creel::broker::{
    Broker, BrokerError, BrokerState, LocalBroker, MESSAGE_BYTES_MAX, SUBSCRIPTION_QUEUE, Signal,
    Subscription, rabbitmq, redis,
};
use libtest_mimic::Trial;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::harness::servers::{shared_rabbitmq, shared_redis, topic_prefix};
use crate::harness::{Needs, TestResult, eventually, trial};

mod outages;

/// Longer than anything takes that is to happen, reconnecting included.
const SOON: Duration = Duration::from_secs(30);
/// Long enough for what must not come to have come.
const A_WHILE: Duration = Duration::from_millis(300);

type AnyBroker = Arc<dyn Broker>;

/// Opens the broker of another node of the same cluster.
type Open = dyn Fn() -> AnyBroker;

/// The promises, for one broker.
macro_rules! conformance {
    ($broker:ident, $needs:expr) => {
        conformance! { $broker, $needs =>
            every_subscriber_gets_every_message,
            where_two_subscribe_a_message_reaches_others,
            a_publishers_messages_keep_their_order,
            topics_are_apart,
            a_late_subscriber_gets_nothing_from_before,
            bytes_arrive_as_they_were,
            a_message_over_the_limit_is_refused,
            a_slow_reader_is_told_and_holds_up_nobody,
            a_dropped_subscription_disturbs_nobody,
            thousands_of_messages_pass,
            close_ends_everything,
        }
    };
    ($broker:ident, $needs:expr => $($property:ident),+ $(,)?) => {
        vec![$(
            trial(
                concat!(module_path!(), "::", stringify!($broker), "::", stringify!($property)),
                $needs,
                || async { $property(&*$broker().await?).await },
            )
        ),+]
    };
}

pub fn trials() -> Vec<Trial> {
    [
        conformance! { local, Needs::NOTHING },
        conformance! { redis, Needs::REDIS },
        conformance! { rabbitmq, Needs::RABBITMQ },
        outages::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

async fn local() -> TestResult<Box<Open>> {
    let broker = Arc::new(LocalBroker::new());
    Ok(Box::new(move || broker.clone()))
}

async fn redis() -> TestResult<Box<Open>> {
    let url = shared_redis().await?;
    Ok(Box::new(move || open_redis(&url, None)))
}

async fn rabbitmq() -> TestResult<Box<Open>> {
    let url = shared_rabbitmq().await?;
    Ok(Box::new(move || open_rabbitmq(&url, None)))
}

fn open_redis(url: &str, ca_file: Option<PathBuf>) -> AnyBroker {
    Arc::new(redis::open(url, ca_file.as_deref()).expect("the settings are right"))
}

fn open_rabbitmq(url: &str, ca_file: Option<PathBuf>) -> AnyBroker {
    Arc::new(rabbitmq::open(url, ca_file.as_deref()).expect("the settings are right"))
}

/// A subscription that is in force.
async fn subscribe(broker: &AnyBroker, topic: &str) -> Subscription {
    let mut subscription = broker.subscribe(topic);
    assert_eq!(next(&mut subscription).await, Signal::Back, "the first signal");
    subscription
}

async fn next(subscription: &mut Subscription) -> Signal {
    let signal = timeout(SOON, subscription.recv()).await.expect("a signal comes in time");
    signal.expect("the subscription has not ended")
}

async fn next_message(subscription: &mut Subscription) -> Bytes {
    match next(subscription).await {
        Signal::Message(message) => message,
        signal => panic!("{signal:?} instead of a message"),
    }
}

async fn silence(subscription: &mut Subscription) {
    if let Ok(signal) = timeout(A_WHILE, subscription.recv()).await {
        panic!("{signal:?} instead of silence");
    }
}

async fn is(broker: &AnyBroker, state: BrokerState) {
    let mut states = broker.state();
    let reached = timeout(SOON, states.wait_for(|now| *now == state)).await;
    reached.unwrap_or_else(|_| panic!("the broker is not {state:?} in time")).expect("the broker lives");
}

async fn close(brokers: impl IntoIterator<Item = AnyBroker>) {
    for broker in brokers {
        timeout(SOON, broker.close()).await.expect("a broker closes in time");
    }
}

fn numbered(publisher: u32, number: u32) -> Bytes {
    [publisher.to_be_bytes(), number.to_be_bytes()].concat().into()
}

async fn every_subscriber_gets_every_message(open: &Open) -> TestResult {
    let (topic, one, two) = (topic_prefix(), open(), open());
    let mut subscriptions = Vec::new();
    for broker in [&one, &one, &two] {
        subscriptions.push(subscribe(broker, &topic).await);
    }
    is(&one, BrokerState::Connected).await;
    one.publish(&topic, Bytes::from("from one")).await?;
    for subscription in &mut subscriptions {
        assert_eq!(next_message(subscription).await, "from one");
    }
    two.publish(&topic, Bytes::from("from two")).await?;
    for subscription in &mut subscriptions {
        assert_eq!(next_message(subscription).await, "from two");
        silence(subscription).await;
    }
    close([one, two]).await;
    Ok(())
}

async fn where_two_subscribe_a_message_reaches_others(open: &Open) -> TestResult {
    let (one, other, topic) = (open(), open(), topic_prefix());
    let own = subscribe(&one, &topic).await;
    let others = subscribe(&other, &topic).await;
    assert!(one.reaches_others(&topic) && other.reaches_others(&topic));
    drop((own, others));
    close([one, other]).await;
    Ok(())
}

async fn a_publishers_messages_keep_their_order(open: &Open) -> TestResult {
    const PUBLISHERS: u32 = 4;
    const EACH: u32 = 200;
    let (topic, one, two) = (topic_prefix(), open(), open());
    let mut subscriptions = [subscribe(&one, &topic).await, subscribe(&two, &topic).await];
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|publisher| {
            let broker = if publisher % 2 == 0 { one.clone() } else { two.clone() };
            let topic = topic.clone();
            tokio::spawn(async move {
                for number in 0..EACH {
                    broker.publish(&topic, numbered(publisher, number)).await?;
                }
                Ok::<_, BrokerError>(())
            })
        })
        .collect();
    for publisher in publishers {
        publisher.await??;
    }
    for subscription in &mut subscriptions {
        let mut expected = [0; PUBLISHERS as usize];
        for _ in 0..PUBLISHERS * EACH {
            let message = next_message(subscription).await;
            let publisher = u32::from_be_bytes(message[..4].try_into()?);
            let number = &mut expected[usize::try_from(publisher)?];
            assert_eq!(message, numbered(publisher, *number));
            *number += 1;
        }
    }
    close([one, two]).await;
    Ok(())
}

async fn topics_are_apart(open: &Open) -> TestResult {
    let (topic, broker) = (topic_prefix(), open());
    let (left_topic, right_topic) = (format!("{topic}.left"), format!("{topic}.right"));
    let mut left = subscribe(&broker, &left_topic).await;
    let mut right = subscribe(&broker, &right_topic).await;
    broker.publish(&left_topic, Bytes::from("left")).await?;
    broker.publish(&right_topic, Bytes::from("right")).await?;
    broker.publish(&topic, Bytes::from("for nobody")).await?;
    assert_eq!(next_message(&mut left).await, "left");
    assert_eq!(next_message(&mut right).await, "right");
    silence(&mut left).await;
    silence(&mut right).await;
    close([broker]).await;
    Ok(())
}

async fn a_late_subscriber_gets_nothing_from_before(open: &Open) -> TestResult {
    let (topic, broker) = (topic_prefix(), open());
    let mut early = subscribe(&broker, &topic).await;
    broker.publish(&topic, Bytes::from("before")).await?;
    assert_eq!(next_message(&mut early).await, "before");
    let mut late = subscribe(&broker, &topic).await;
    broker.publish(&topic, Bytes::from("after")).await?;
    assert_eq!(next_message(&mut late).await, "after");
    close([broker]).await;
    Ok(())
}

async fn bytes_arrive_as_they_were(open: &Open) -> TestResult {
    let (topic, broker) = (topic_prefix(), open());
    let mut subscription = subscribe(&broker, &topic).await;
    let every_octet: Vec<u8> = (0..=u8::MAX).collect();
    let largest: Vec<u8> = every_octet.iter().copied().cycle().take(MESSAGE_BYTES_MAX).collect();
    for message in [Vec::new(), b"\r\n".to_vec(), every_octet, largest] {
        let message = Bytes::from(message);
        broker.publish(&topic, message.clone()).await?;
        let arrived = next_message(&mut subscription).await;
        assert!(arrived == message, "{} bytes came for {}", arrived.len(), message.len());
    }
    close([broker]).await;
    Ok(())
}

async fn a_message_over_the_limit_is_refused(open: &Open) -> TestResult {
    let (topic, broker) = (topic_prefix(), open());
    let mut subscription = subscribe(&broker, &topic).await;
    let large = Bytes::from(vec![0; MESSAGE_BYTES_MAX + 1]);
    let refused = broker.publish(&topic, large).await;
    assert!(
        matches!(refused, Err(BrokerError::TooLarge(bytes)) if bytes == MESSAGE_BYTES_MAX + 1),
        "{refused:?}"
    );
    broker.publish(&topic, Bytes::from("fits")).await?;
    assert_eq!(next_message(&mut subscription).await, "fits");
    close([broker]).await;
    Ok(())
}

async fn a_slow_reader_is_told_and_holds_up_nobody(open: &Open) -> TestResult {
    let queue = u32::try_from(SUBSCRIPTION_QUEUE)?;
    let (topic, one, two) = (topic_prefix(), open(), open());
    let mut slow = subscribe(&one, &topic).await;
    let mut quick = subscribe(&two, &topic).await;
    let published = 4 * queue;
    for batch in 0..published / 256 {
        let numbers = batch * 256..(batch + 1) * 256;
        for number in numbers.clone() {
            two.publish(&topic, numbered(0, number)).await?;
        }
        for number in numbers {
            assert_eq!(next_message(&mut quick).await, numbered(0, number), "the quick reader");
        }
    }
    eventually(SOON, "the drop is counted", || async { one.dropped() == u64::from(published - queue) }).await;
    for number in 0..queue {
        assert_eq!(next_message(&mut slow).await, numbered(0, number), "what it still held");
    }
    assert_eq!(next(&mut slow).await, Signal::Back, "in the place of what was dropped");
    two.publish(&topic, Bytes::from("after")).await?;
    assert_eq!(next_message(&mut slow).await, "after");
    close([one, two]).await;
    Ok(())
}

async fn a_dropped_subscription_disturbs_nobody(open: &Open) -> TestResult {
    let (topic, broker) = (topic_prefix(), open());
    let mut stays = subscribe(&broker, &topic).await;
    let goes = subscribe(&broker, &topic).await;
    drop(broker.subscribe(&topic));
    broker.publish(&topic, Bytes::from("to two")).await?;
    drop(goes);
    for number in 0..2 * u32::try_from(SUBSCRIPTION_QUEUE)? {
        if number == 0 {
            assert_eq!(next_message(&mut stays).await, "to two");
        }
        broker.publish(&topic, numbered(0, number)).await?;
        assert_eq!(next_message(&mut stays).await, numbered(0, number));
    }
    assert_eq!(broker.dropped(), 0, "nothing was kept for the one that is gone");
    is(&broker, BrokerState::Connected).await;
    close([broker]).await;
    Ok(())
}

async fn thousands_of_messages_pass(open: &Open) -> TestResult {
    const MESSAGES: u32 = 5000;
    let (topic, one, two) = (topic_prefix(), open(), open());
    let mut subscription = subscribe(&one, &topic).await;
    // The publisher keeps that far ahead of the reader at most, who must not be called slow.
    let ahead = Arc::new(Semaphore::new(SUBSCRIPTION_QUEUE / 2));
    let read = ahead.clone();
    let reader = tokio::spawn(async move {
        for number in 0..MESSAGES {
            assert_eq!(next_message(&mut subscription).await, numbered(0, number));
            read.add_permits(1);
        }
    });
    for number in 0..MESSAGES {
        ahead.acquire().await?.forget();
        two.publish(&topic, numbered(0, number)).await?;
    }
    reader.await?;
    close([one, two]).await;
    Ok(())
}

async fn close_ends_everything(open: &Open) -> TestResult {
    let (topic, broker) = (topic_prefix(), open());
    let mut subscription = subscribe(&broker, &topic).await;
    let mut never_in_force = broker.subscribe(&topic);
    broker.publish(&topic, Bytes::from("last")).await?;
    assert_eq!(next_message(&mut subscription).await, "last");
    close([broker.clone(), broker.clone()]).await;
    assert_eq!(timeout(SOON, subscription.recv()).await?, None);
    while timeout(SOON, never_in_force.recv()).await?.is_some() {}
    assert_eq!(*broker.state().borrow(), BrokerState::Away);
    let refused = broker.publish(&topic, Bytes::new()).await;
    assert!(matches!(refused, Err(BrokerError::Away(_))), "{refused:?}");
    assert_eq!(timeout(SOON, broker.subscribe(&topic).recv()).await?, None);
    Ok(())
}
