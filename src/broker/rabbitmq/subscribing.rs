//! One subscription at RabbitMQ: a queue of its own, its binding, and what comes out of it. Nothing here
//! may wait for the reader, since what is not read gathers in lapin.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use lapin::{
    Channel, Consumer,
    options::{BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable, ShortString},
};
use tokio::time::{sleep, timeout};

use super::{
    declare_exchange, name,
    wire::{Wire, cause},
};
use crate::broker::{
    reconnect::{Cause, fault},
    remote::{CONNECT_WITHIN, Receiving},
};

/// How often the binding is made sure of.
const BIND_EVERY: Duration = Duration::from_secs(5);

/// Subscribes, and passes messages on until the connection is lost.
pub(super) async fn receive_until_lost(wire: &Wire, topic: &str, receiving: &Receiving) -> Cause {
    let (binding, consumer) = match timeout(CONNECT_WITHIN, consume(wire, topic)).await {
        Ok(Ok(consuming)) => consuming,
        Ok(Err(cause)) => return cause,
        Err(_) => return fault("subscribing took too long"),
    };
    receiving.up();
    tokio::select! {
        cause = pass_on(consumer, receiving) => cause,
        cause = binding.keep() => cause,
    }
}

async fn pass_on(mut consumer: Consumer, receiving: &Receiving) -> Cause {
    loop {
        match consumer.next().await {
            Some(Ok(delivery)) => receiving.message(Bytes::from(delivery.data)),
            Some(Err(error)) => return cause(error),
            None => return fault("the server ended the subscription"),
        }
    }
}

async fn consume(wire: &Wire, topic: &str) -> Result<(Binding, Consumer), Cause> {
    let channel = wire.connection.create_channel().await.map_err(cause)?;
    let queue = name(&format!("{topic}.{}", uuid::Uuid::new_v4()))?;
    let binding = Binding { channel, queue, exchange: name(topic)? };
    declare_exchange(&binding.channel, binding.exchange.clone()).await?;
    let options =
        QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
    let declare = binding.channel.queue_declare(binding.queue.clone(), options, queue_bounds());
    declare.await.map_err(cause)?;
    binding.make().await.map_err(cause)?;
    let options = BasicConsumeOptions { no_ack: true, exclusive: true, ..BasicConsumeOptions::default() };
    let (queue, tag) = (binding.queue.clone(), ShortString::default());
    let consumer = binding.channel.basic_consume(queue, tag, options, FieldTable::default());
    let consumer = consumer.await.map_err(cause)?;
    Ok((binding, consumer))
}

/// A queue's tie to its topic's exchange.
struct Binding {
    channel: Channel,
    queue: ShortString,
    exchange: ShortString,
}

impl Binding {
    async fn make(&self) -> lapin::Result<()> {
        let (queue, exchange) = (self.queue.clone(), self.exchange.clone());
        let options = QueueBindOptions::default();
        self.channel.queue_bind(queue, exchange, ShortString::default(), options, FieldTable::default()).await
    }

    /// Makes it again and again, which changes nothing where it is. When somebody deletes the exchange,
    /// its bindings go too, and the queue would stay silent though all that one sees is in order.
    async fn keep(&self) -> Cause {
        loop {
            sleep(BIND_EVERY).await;
            match timeout(CONNECT_WITHIN, self.make()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return cause(error),
                Err(_) => return fault("the server does not answer"),
            }
        }
    }
}

/// What a subscription's queue on the server holds at most: enough for bursts, and little enough that a
/// node which is frozen until its heartbeats are missed fills nothing. Then the oldest messages go first,
/// and nobody is told; the feed sees that numbers are missing.
fn queue_bounds() -> FieldTable {
    const MESSAGES: i32 = 32 * 1024;
    const BYTES: i32 = 128 * 1024 * 1024;
    let mut bounds = FieldTable::default();
    bounds.insert("x-max-length".into(), AMQPValue::LongInt(MESSAGES));
    bounds.insert("x-max-length-bytes".into(), AMQPValue::LongInt(BYTES));
    bounds.insert("x-overflow".into(), AMQPValue::LongString("drop-head".into()));
    bounds
}
