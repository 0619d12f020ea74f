//! What a remote broker must live through: servers killed, frozen, cut off and out of memory.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use creel::broker::{BrokerError, BrokerState, MESSAGE_BYTES_MAX, Signal};
use libtest_mimic::Trial;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use self::nodes::{NOTICED_WITHIN, Nodes, PUBLISH_LIMIT, Remote, past_messages};
use super::{
    AnyBroker, SOON, close, is, next, next_message, numbered, open_rabbitmq, open_redis, silence, subscribe,
};
use crate::harness::proxy::Proxy;
use crate::harness::servers::{RabbitMq, Redis, topic_prefix};
use crate::harness::{Needs, TestResult, eventually, trial, trials};

mod nodes;

/// Lists the properties for both kinds of server.
macro_rules! outages {
    ($($property:ident),+ $(,)?) => {
        vec![$(
            trial(
                concat!(module_path!(), "::redis::", stringify!($property)),
                Needs::OWN_REDIS,
                || $property::<Redis>(),
            ),
            trial(
                concat!(module_path!(), "::rabbitmq::", stringify!($property)),
                Needs::OWN_RABBITMQ,
                || $property::<RabbitMq>(),
            )
        ),+]
    };
}

pub fn trials() -> Vec<Trial> {
    let mut all = outages! {
        a_killed_server_is_survived,
        a_frozen_server_is_noticed,
        a_cut_connection_is_made_again,
        a_silent_network_is_noticed,
        a_server_that_is_not_there_yet_is_waited_for,
        nothing_remains_of_what_is_dropped,
        tls_is_checked,
        wrong_settings_are_told_at_once,
    };
    all.extend(trials! {
        Needs::NOTHING => attempts_at_a_mute_redis_do_not_gather, attempts_at_a_mute_rabbitmq_do_not_gather;
        Needs::OWN_RABBITMQ => a_server_without_memory_takes_no_messages_and_says_so,
            a_deleted_exchange_is_made_again;
    });
    all
}

async fn a_killed_server_is_survived<R: Remote>() -> TestResult {
    let server = R::start().await?;
    let mut nodes = Nodes::open::<R>(server.url(), server.url()).await;
    server.kill9();
    assert_eq!(next(&mut nodes.subscription).await, Signal::Away);
    nodes.publish_until_it_fails().await?;
    is(&nodes.publisher, BrokerState::Away).await;
    is(&nodes.subscriber, BrokerState::Away).await;
    // While it is known to be away, nobody has to wait.
    let asked = Instant::now();
    assert!(nodes.publisher.publish(&nodes.topic, Bytes::new()).await.is_err());
    assert!(asked.elapsed() < Duration::from_millis(500), "{:?}", asked.elapsed());
    // One that subscribes meanwhile hears nothing before it is in force.
    let mut meanwhile = nodes.subscriber.subscribe(&nodes.topic);
    silence(&mut meanwhile).await;
    server.start_again().await?;
    assert_eq!(past_messages(&mut nodes.subscription).await, Signal::Back);
    assert_eq!(next(&mut meanwhile).await, Signal::Back);
    nodes.talk().await;
    // And once more, with nobody publishing.
    server.kill9();
    assert_eq!(next(&mut nodes.subscription).await, Signal::Away);
    is(&nodes.publisher, BrokerState::Away).await;
    // Closing does not wait for a server that is not there.
    let asked = Instant::now();
    nodes.close().await;
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    Ok(())
}

async fn a_frozen_server_is_noticed<R: Remote>() -> TestResult {
    let server = R::start().await?;
    let mut nodes = Nodes::open::<R>(server.url(), server.url()).await;
    server.freeze();
    let frozen = Instant::now();
    assert_eq!(past_messages(&mut nodes.subscription).await, Signal::Away);
    is(&nodes.publisher, BrokerState::Away).await;
    assert!(frozen.elapsed() < NOTICED_WITHIN, "noticed after {:?}", frozen.elapsed());
    nodes.publish_until_it_fails().await?;
    server.thaw();
    assert_eq!(past_messages(&mut nodes.subscription).await, Signal::Back);
    nodes.talk().await;
    server.freeze();
    let asked = Instant::now();
    close([nodes.publisher]).await;
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    server.thaw();
    close([nodes.subscriber]).await;
    Ok(())
}

async fn a_cut_connection_is_made_again<R: Remote>() -> TestResult {
    let server = R::start().await?;
    let proxy = Proxy::start(server.address()).await?;
    let url = proxy.through(server.url())?;
    let mut nodes = Nodes::open::<R>(server.url(), &url).await;
    proxy.cut();
    assert_eq!(next(&mut nodes.subscription).await, Signal::Away);
    assert_eq!(next(&mut nodes.subscription).await, Signal::Back);
    nodes.talk().await;

    // In the middle of a message to the subscriber: what comes is whole, or does not come.
    let large = Bytes::from(vec![1; MESSAGE_BYTES_MAX]);
    proxy.cut_after(u32::try_from(MESSAGE_BYTES_MAX / 3)?);
    nodes.publisher.publish(&nodes.topic, large.clone()).await?;
    assert_eq!(next(&mut nodes.subscription).await, Signal::Away);
    assert_eq!(next(&mut nodes.subscription).await, Signal::Back);
    nodes.talk().await;
    nodes.close().await;

    // In the middle of one from the publisher.
    let mut nodes = Nodes::open::<R>(&url, server.url()).await;
    proxy.cut_after(u32::try_from(MESSAGE_BYTES_MAX / 3)?);
    let asked = Instant::now();
    let published = nodes.publisher.publish(&nodes.topic, large).await;
    assert!(asked.elapsed() < PUBLISH_LIMIT, "a publish took {:?}", asked.elapsed());
    // All of it may have been with the system before the cut; then nobody can know.
    assert!(matches!(published, Ok(()) | Err(BrokerError::Away(_))), "{published:?}");
    silence(&mut nodes.subscription).await;
    nodes.publish_until_it_fails().await.ok();
    while let Ok(Some(_)) = timeout(Duration::from_millis(300), nodes.subscription.recv()).await {}
    nodes.talk().await;
    nodes.close().await;
    Ok(())
}

async fn a_silent_network_is_noticed<R: Remote>() -> TestResult {
    let server = R::start().await?;
    let proxy = Proxy::start(server.address()).await?;
    let url = proxy.through(server.url())?;
    let mut nodes = Nodes::open::<R>(&url, &url).await;
    proxy.pause();
    let paused = Instant::now();
    assert_eq!(next(&mut nodes.subscription).await, Signal::Away);
    is(&nodes.publisher, BrokerState::Away).await;
    assert!(paused.elapsed() < NOTICED_WITHIN, "noticed after {:?}", paused.elapsed());
    proxy.cut();
    proxy.resume();
    assert_eq!(past_messages(&mut nodes.subscription).await, Signal::Back);
    nodes.talk().await;
    nodes.close().await;
    Ok(())
}

async fn a_server_that_is_not_there_yet_is_waited_for<R: Remote>() -> TestResult {
    let server = R::start().await?;
    let proxy = Proxy::start(server.address()).await?;
    let url = proxy.through(server.url())?;
    proxy.refuse();
    eventually(SOON, "connections are refused", || async {
        TcpStream::connect(proxy.address()).await.is_err()
    })
    .await;
    let (topic, broker) = (topic_prefix(), R::open(&url, None));
    let mut subscription = broker.subscribe(&topic);
    silence(&mut subscription).await;
    assert_eq!(*broker.state().borrow(), BrokerState::Away);
    let asked = Instant::now();
    let refused = broker.publish(&topic, Bytes::new()).await;
    assert!(matches!(refused, Err(BrokerError::Away(Some(_)))), "{refused:?}");
    assert!(asked.elapsed() < PUBLISH_LIMIT, "a publish took {:?}", asked.elapsed());
    proxy.resume();
    assert_eq!(next(&mut subscription).await, Signal::Back);
    is(&broker, BrokerState::Connected).await;
    broker.publish(&topic, Bytes::from("at last")).await?;
    assert_eq!(next_message(&mut subscription).await, "at last");
    close([broker]).await;
    Ok(())
}

async fn nothing_remains_of_what_is_dropped<R: Remote>() -> TestResult {
    let server = R::start().await?;
    let (topic, broker) = (topic_prefix(), R::open(server.url(), None));
    let one = subscribe(&broker, &topic).await;
    let two = subscribe(&broker, &topic).await;
    is(&broker, BrokerState::Connected).await;
    assert_eq!(server.hangs_on(&topic).await?, (2, 3));
    drop(one);
    eventually(SOON, "one subscription is gone", || async {
        server.hangs_on(&topic).await.is_ok_and(|hangs| hangs == (1, 2))
    })
    .await;
    drop(two);
    drop(broker.subscribe(&topic));
    eventually(SOON, "both subscriptions are gone", || async {
        server.hangs_on(&topic).await.is_ok_and(|hangs| hangs == (0, 1))
    })
    .await;
    is(&broker, BrokerState::Connected).await;
    let _open = subscribe(&broker, &topic).await;
    close([broker.clone()]).await;
    eventually(SOON, "everything is gone after close", || async {
        server.hangs_on(&topic).await.is_ok_and(|hangs| hangs == (0, 0))
    })
    .await;

    // A broker that is dropped without being closed leaves nothing, either.
    let broker = R::open(server.url(), None);
    let _open = subscribe(&broker, &topic).await;
    drop(broker);
    eventually(SOON, "everything is gone after a drop", || async {
        server.hangs_on(&topic).await.is_ok_and(|hangs| hangs == (0, 0))
    })
    .await;
    Ok(())
}

async fn tls_is_checked<R: Remote>() -> TestResult {
    let server = R::start_tls().await?;
    let (topic, broker) = (topic_prefix(), R::open(server.url(), Some(server.ca_file().to_owned())));
    let mut subscription = subscribe(&broker, &topic).await;
    let message = Bytes::from(vec![5; 300_000]);
    broker.publish(&topic, message.clone()).await?;
    assert!(next_message(&mut subscription).await == message);
    is(&broker, BrokerState::Connected).await;
    close([broker]).await;

    // Nobody knows the authority that signed for it.
    let broker = R::open(server.url(), None);
    let refused = broker.publish(&topic, Bytes::new()).await.err().ok_or("an unknown certificate")?;
    let text = format!("{refused:?}");
    assert!(text.contains("UnknownIssuer"), "{text}");
    close([broker]).await;

    // Not its name: the certificate is for `localhost` and 127.0.0.1.
    let other_name = server.url().replace("localhost", "127.0.0.2");
    let broker = R::open(&other_name, Some(server.ca_file().to_owned()));
    assert!(broker.publish(&topic, Bytes::new()).await.is_err());
    close([broker]).await;
    Ok(())
}

async fn wrong_settings_are_told_at_once<R: Remote>() -> TestResult {
    let server = R::start().await?;
    let mut login = url::Url::parse(server.url())?;
    login.set_password(Some("hunter2")).map_err(|()| "a URL with a login")?;
    let right = login.to_string();
    let encrypted = right.replacen("://", "s://", 1);
    let nowhere = PathBuf::from("/nowhere/ca.pem");
    let no_certificates = PathBuf::from("/dev/null");
    for (url, ca_file) in [
        (format!("{right}\u{7f}{{"), Some(nowhere.clone())),
        (right.replacen(':', "", 1), None),
        (right.replacen("://", "+x://", 1), None),
        (right.clone(), Some(nowhere.clone())),
        (encrypted.clone(), Some(nowhere)),
        (encrypted, Some(no_certificates)),
    ] {
        let wrong = R::try_open(&url, ca_file).err().ok_or_else(|| format!("{url} was taken"))?;
        let text = format!("{wrong} {wrong:?}");
        assert!(matches!(wrong, BrokerError::Settings(_)), "{text}");
        assert!(!text.contains("hunter2"), "the password is shown: {text}");
    }

    // A wrong password only shows when the server is asked.
    let broker = R::open(&right, None);
    let refused = broker.publish(&topic_prefix(), Bytes::new()).await.err().ok_or("a wrong password")?;
    let text = format!("{refused:?}");
    assert!(!text.contains("hunter2") && !text.contains("took too long"), "{text}");
    close([broker]).await;
    Ok(())
}

async fn a_server_without_memory_takes_no_messages_and_says_so() -> TestResult {
    let server = RabbitMq::start().await?;
    let mut nodes = Nodes::open::<RabbitMq>(server.url(), server.url()).await;
    server.control(&["set_vm_memory_high_watermark", "0.000001"])?;
    nodes.publish_until_it_fails().await?;
    is(&nodes.publisher, BrokerState::Away).await;
    // The reading side goes on all the while.
    is(&nodes.subscriber, BrokerState::Connected).await;
    for _ in 0..100 {
        let asked = Instant::now();
        assert!(nodes.publisher.publish(&nodes.topic, Bytes::new()).await.is_err());
        assert!(asked.elapsed() < Duration::from_millis(500), "{:?}", asked.elapsed());
    }
    server.control(&["set_vm_memory_high_watermark", "0.9"])?;
    is(&nodes.publisher, BrokerState::Connected).await;
    while let Ok(Some(signal)) = timeout(Duration::from_millis(500), nodes.subscription.recv()).await {
        assert!(matches!(signal, Signal::Message(_)), "{signal:?}");
    }
    nodes.talk().await;
    nodes.close().await;
    Ok(())
}

async fn a_deleted_exchange_is_made_again() -> TestResult {
    let server = RabbitMq::start().await?;
    let mut nodes = Nodes::open::<RabbitMq>(server.url(), server.url()).await;
    let connection = lapin::Connection::connect(server.url(), Default::default()).await?;
    let channel = connection.create_channel().await?;
    channel.exchange_delete(nodes.topic.as_str().into(), Default::default()).await?;
    assert_eq!(next(&mut nodes.subscription).await, Signal::Away);
    assert_eq!(next(&mut nodes.subscription).await, Signal::Back);
    // The publisher only notices when it publishes. It may be told that this went well.
    nodes.publisher.publish(&nodes.topic, numbered(0, 0)).await.ok();
    while timeout(Duration::from_secs(1), nodes.subscription.recv()).await.is_ok() {}
    nodes.talk().await;
    nodes.close().await;
    Ok(())
}

async fn attempts_at_a_mute_redis_do_not_gather() -> TestResult {
    attempts_do_not_gather("redis", open_redis).await
}

async fn attempts_at_a_mute_rabbitmq_do_not_gather() -> TestResult {
    attempts_do_not_gather("amqp", open_rabbitmq).await
}

/// A peer that takes connections and never says a word, as a frozen server does.
async fn attempts_do_not_gather(scheme: &str, open: fn(&str, Option<PathBuf>) -> AnyBroker) -> TestResult {
    const LINES: usize = 2;
    const ROUNDS: usize = 3;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let broker = open(&format!("{scheme}://user:secret@{}/", listener.local_addr()?), None);
    let _subscription = broker.subscribe("topic");
    let mut connections = JoinSet::new();
    for _ in 0..LINES * ROUNDS {
        let (mut connection, _) = timeout(SOON, listener.accept()).await??;
        connections.spawn(async move { tokio::io::copy(&mut connection, &mut tokio::io::sink()).await });
    }
    eventually(SOON, "earlier attempts have ended", || {
        while connections.try_join_next().is_some() {}
        std::future::ready(connections.len() <= LINES)
    })
    .await;
    close([broker]).await;
    timeout(SOON, connections.join_all()).await.map_err(|_| "a connection outlives its broker")?;
    Ok(())
}
