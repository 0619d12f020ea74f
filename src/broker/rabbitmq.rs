//! The RabbitMQ broker (AMQP 0-9-1).
//!
//! A topic is a durable fanout exchange of its name: it survives restarts, holds no messages, and is
//! declared by whoever comes first. A subscription is a queue that belongs to one connection and goes
//! away with it (exclusive), under a new name each time, bounded so that a frozen node cannot fill the
//! broker. Nothing is acknowledged and nothing confirmed: at most once.
//!
//! Publishing and each subscription have connections of their own, for RabbitMQ stops reading from those
//! that publish when it is short of memory. lapin's own recovery is off: it leaves a consumer silent.
//! lapin logs every connection that ends, ours to end included, as an error, and at `trace` the frames of
//! the login: a log filter should say `lapin=off`. What is worth knowing is logged in `reconnect`.

mod subscribing;
mod wire;

use std::{collections::HashSet, path::Path, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use lapin::{
    BasicProperties, Channel, Event, ExchangeKind,
    options::{BasicPublishOptions, ExchangeDeclareOptions},
    types::{FieldTable, ShortString},
    uri::{AMQPScheme, AMQPUri},
};
use rustls::ClientConfig;
use tokio::{
    sync::Mutex,
    time::{interval, timeout},
};
use tokio_util::sync::CancellationToken;

use self::{
    subscribing::receive_until_lost,
    wire::{Wire, cause},
};
use super::{
    Broker, BrokerError, parse_url,
    reconnect::{Cause, fault},
    remote::{CONNECT_WITHIN, Receiving, Remote, Sending, Transport},
    tls, wrong_url,
};

/// Both ends send something that often, in seconds; a peer is given up after twice that. RabbitMQ's
/// makers warn of false alarms below 5 s or so, but an alarm here costs no more than a reconnect.
const HEARTBEAT_S: u16 = 3;
/// How often a publishing connection is looked at: lapin tells of some endings only who asks.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Opens a broker over RabbitMQ.
///
/// Begins to connect to `amqp://` or `amqps://[USER:PASSWORD@]HOST[:PORT][/VHOST]`; with `amqps://`
/// the server's certificate is checked against the system's and those in `ca_file`. No path, or an
/// empty one, is the virtual host `/`. Fails on settings alone: a server that cannot be reached is
/// tried on. Must be called within a tokio runtime.
pub fn open(url: &str, ca_file: Option<&Path>) -> Result<impl Broker + use<>, BrokerError> {
    Ok(Remote::open(RabbitMq::new(url, ca_file)?))
}

/// Whether [`open`] would take these settings.
pub fn check(url: &str, ca_file: Option<&Path>) -> Result<(), BrokerError> {
    RabbitMq::new(url, ca_file).map(drop)
}

struct RabbitMq {
    uri: AMQPUri,
    tls: Option<Arc<ClientConfig>>,
}

/// What publishes go through.
#[derive(Clone)]
pub(super) struct Link {
    channel: Channel,
    /// The topics whose exchange this connection has declared.
    declared: Arc<Mutex<HashSet<String>>>,
}

impl RabbitMq {
    fn new(url: &str, ca_file: Option<&Path>) -> Result<Self, BrokerError> {
        // The library's words on a URL are not passed on: they quote it.
        let wrong = wrong_url;
        let parsed = parse_url(url)?;
        let mut uri: AMQPUri = url.parse().map_err(|_| wrong("is no amqp:// or amqps:// URL"))?;
        // The library would take an IPv6 address for `localhost`.
        if let Some(url::Host::Ipv6(address)) = parsed.host() {
            uri.authority.host = address.to_string();
        }
        if uri.vhost.is_empty() {
            uri.vhost = "/".to_owned();
        }
        uri.query.heartbeat.get_or_insert(HEARTBEAT_S);
        let tls = match uri.scheme {
            AMQPScheme::AMQPS => Some(tls::client_config(ca_file)?),
            AMQPScheme::AMQP if ca_file.is_some() => {
                return Err(wrong("must be amqps:// where broker.ca_file is given"));
            }
            AMQPScheme::AMQP => None,
        };
        Ok(Self { uri, tls })
    }

    async fn connect(&self, what: &str) -> Result<Wire, Cause> {
        Wire::connect(&self.uri, self.tls.clone(), format!("creel, {what}")).await
    }
}

#[async_trait::async_trait]
impl Transport for RabbitMq {
    type Link = Link;

    fn name(&self) -> String {
        format!("rabbitmq at {}:{}", self.uri.authority.host, self.uri.authority.port)
    }

    async fn live_sending(&self, sending: &Sending<Link>, stop: &CancellationToken) -> Result<(), Cause> {
        let wire = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            wire = self.connect("publishing") => wire?,
        };
        let lived = tokio::select! {
            () = stop.cancelled() => Ok(()),
            cause = send_until_lost(&wire, sending) => Err(cause),
        };
        wire.end().await;
        lived
    }

    async fn send(&self, link: &Link, topic: &str, message: &Bytes) -> Result<(), Cause> {
        let exchange = name(topic)?;
        let mut declared = link.declared.lock().await;
        if !declared.contains(topic) {
            declare_exchange(&link.channel, exchange.clone()).await?;
            declared.insert(topic.to_owned());
        }
        drop(declared);
        // Done when the last of its frames is written; without confirms that is all there is to know.
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        let sending =
            link.channel.basic_publish(exchange, ShortString::default(), options, message, properties);
        sending.await.map_err(cause).map(drop)
    }

    async fn live_receiving(
        &self,
        topic: &str,
        receiving: &Arc<Receiving>,
        stop: &CancellationToken,
    ) -> Result<(), Cause> {
        let wire = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            wire = self.connect(topic) => wire?,
        };
        let lived = tokio::select! {
            () = stop.cancelled() => Ok(()),
            cause = receive_until_lost(&wire, topic, receiving) => Err(cause),
        };
        wire.end().await;
        lived
    }
}

async fn send_until_lost(wire: &Wire, sending: &Sending<Link>) -> Cause {
    let mut events = pin!(wire.connection.events_listener());
    let channel = match timeout(CONNECT_WITHIN, wire.connection.create_channel()).await {
        Ok(Ok(channel)) => channel,
        Ok(Err(error)) => return cause(error),
        Err(_) => return fault("opening a channel took too long"),
    };
    let link = Link { channel, declared: Arc::default() };
    loop {
        let failed = sending.up(link.clone());
        let blocked = tokio::select! {
            () = failed.cancelled() => return fault("a publish failed"),
            change = next_change(wire, &link.channel, &mut events) => match change {
                Change::Lost(cause) => return cause,
                Change::Unblocked => continue,
                Change::Blocked(reason) => fault(format!("the server takes no messages now: {reason}")),
            },
        };
        // The connection is kept: it is the one that will be told when the server has room again.
        sending.away(&blocked);
        loop {
            match next_change(wire, &link.channel, &mut events).await {
                Change::Lost(cause) => return cause,
                Change::Blocked(_) => {}
                Change::Unblocked => break,
            }
        }
    }
}

enum Change {
    Blocked(String),
    Unblocked,
    Lost(Cause),
}

async fn next_change(
    wire: &Wire,
    channel: &Channel,
    events: &mut (impl Stream<Item = Event> + Unpin),
) -> Change {
    let mut looks = interval(LOOK_EVERY);
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            _ = looks.tick() => None,
        };
        match event {
            Some(Event::ConnectionBlocked(reason)) => return Change::Blocked(reason),
            Some(Event::ConnectionUnblocked) => return Change::Unblocked,
            Some(Event::Error(error)) => return Change::Lost(cause(error)),
            _ => {}
        }
        if !wire.connection.status().connected() || !channel.status().connected() {
            return Change::Lost(fault("the server closed the connection"));
        }
    }
}

async fn declare_exchange(channel: &Channel, exchange: ShortString) -> Result<(), Cause> {
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let declare = channel.exchange_declare(exchange, ExchangeKind::Fanout, options, FieldTable::default());
    declare.await.map_err(cause)
}

fn name(text: &str) -> Result<ShortString, Cause> {
    ShortString::try_new(text).map_err(|error| Arc::new(error) as Cause)
}
