//! What all remote brokers share: one connection to publish on, one for each subscription, and the tasks
//! that keep them up. A broker is a [`Remote`] over its [`Transport`], which alone knows the protocol.
//! Nothing here must wait for a reader, or let a publish wait past its bound.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    runtime::Handle,
    sync::{Semaphore, watch},
    time::{Instant, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Broker, BrokerError, BrokerState, Subscription, check_size,
    reconnect::{Cause, Line, Share, Standing, fault, keep_up},
    subscription::Inlet,
};

/// How long a connection may take to be made: name, TCP, TLS, login and what is declared after it.
pub(super) const CONNECT_WITHIN: Duration = Duration::from_secs(4);
/// How long a publish may take.
const PUBLISH_WITHIN: Duration = Duration::from_secs(2);
/// Publishes under way at a time; further ones wait their turn, in order.
const PUBLISHES_MAX: usize = 32;

/// A protocol that carries messages.
#[async_trait::async_trait]
pub(super) trait Transport: Send + Sync + 'static {
    /// What publishes go through while the publishing connection is up.
    type Link: Clone + Send + Sync + 'static;

    /// For the log: kind, host and port. Never the URL, which holds a password.
    fn name(&self) -> String;

    /// Connects for publishing, says [`Sending::up`], and lives until the connection is lost, the token
    /// it got from there is cancelled (both `Err`), or `stop` is (`Ok`).
    async fn live_sending(
        &self,
        sending: &Sending<Self::Link>,
        stop: &CancellationToken,
    ) -> Result<(), Cause>;

    /// Sends one message. An error means that the connection is not to be used any more.
    async fn send(&self, link: &Self::Link, topic: &str, message: &Bytes) -> Result<(), Cause>;

    /// Connects and subscribes, says [`Receiving::up`], and passes messages on until the connection is
    /// lost (`Err`) or `stop` is cancelled (`Ok`).
    async fn live_receiving(
        &self,
        topic: &str,
        receiving: &Arc<Receiving>,
        stop: &CancellationToken,
    ) -> Result<(), Cause>;
}

/// The publishing side of a broker.
pub(super) struct Sending<L> {
    link: watch::Sender<LinkState<L>>,
    share: Share,
}

#[derive(Clone)]
enum LinkState<L> {
    /// The first connection is being made: a publish waits for it.
    Opening,
    /// The token ends what is under way on the link, and the link.
    Up(L, CancellationToken),
    Away(Cause),
}

impl<L: Clone> Sending<L> {
    /// The link, once it is known whether there is one.
    async fn link(&self) -> Result<(L, CancellationToken), Cause> {
        let mut link = self.link.subscribe();
        let known = link.wait_for(|state| !matches!(state, LinkState::Opening)).await;
        match known.map_err(|error| Arc::new(error) as Cause)?.clone() {
            LinkState::Up(link, token) => Ok((link, token)),
            LinkState::Away(cause) => Err(cause),
            LinkState::Opening => Err(fault("the first connection is still being made")),
        }
    }

    /// Lets publishes through. The token is cancelled when the link has failed one of them.
    pub(super) fn up(&self, link: L) -> CancellationToken {
        let token = CancellationToken::new();
        self.link.send_replace(LinkState::Up(link, token.clone()));
        self.share.up();
        token
    }

    /// Lets publishes fail at once, those under way too.
    pub(super) fn away(&self, cause: &Cause) -> Option<Duration> {
        if let LinkState::Up(_, token) = self.link.send_replace(LinkState::Away(cause.clone())) {
            token.cancel();
        }
        self.share.away(cause)
    }
}

/// The side of a subscription that its connection writes to.
pub(super) struct Receiving {
    inlet: Inlet,
    share: Share,
}

impl Receiving {
    /// The subscription is in force.
    pub(super) fn up(&self) {
        self.share.up();
        self.inlet.back();
    }

    pub(super) fn message(&self, message: Bytes) {
        self.inlet.message(message);
    }
}

/// A remote broker.
pub(super) struct Remote<T: Transport> {
    transport: Arc<T>,
    sending: Arc<Sending<T::Link>>,
    turns: Semaphore,
    standing: Arc<Standing>,
    dropped: Arc<AtomicU64>,
    /// Where all tasks run, whoever subscribes: an HTTP worker's runtime may end before the broker.
    runtime: Handle,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl<T: Transport> Remote<T> {
    /// Begins to connect. Must be called within a tokio runtime, which then carries the broker's tasks.
    pub(super) fn open(transport: T) -> Self {
        let transport = Arc::new(transport);
        let standing = Standing::new();
        let sending = Arc::new(Sending {
            link: watch::Sender::new(LinkState::Opening),
            share: Share::new(&standing, format!("{}, publishing", transport.name())),
        });
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let line = SendingLine { transport: transport.clone(), sending: sending.clone() };
        let runtime = Handle::current();
        tasks.spawn_on(keep_up(line, stop.clone()), &runtime);
        Self {
            transport,
            sending,
            turns: Semaphore::new(PUBLISHES_MAX),
            standing,
            dropped: Arc::default(),
            runtime,
            tasks,
            stop,
        }
    }

    async fn send(&self, topic: &str, message: &Bytes, deadline: Instant) -> Result<(), Cause> {
        let late = |_| fault("publishing took too long");
        let turn = timeout_at(deadline, self.turns.acquire()).await.map_err(late)?;
        let _turn = turn.map_err(|error| Arc::new(error) as Cause)?;
        let (link, token) = timeout_at(deadline, self.sending.link()).await.map_err(late)??;
        let began = Instant::now();
        tokio::select! {
            biased;
            () = token.cancelled() => Err(fault("the connection was lost while publishing")),
            sent = timeout_at(deadline, self.transport.send(&link, topic, message)) => match sent {
                Ok(sent) => sent.inspect_err(|_| token.cancel()),
                Err(elapsed) => {
                    // What was not sent in time lies in the connection's buffers, and only goes away
                    // with it. A publish that had little time left blames nobody.
                    if began.elapsed() >= PUBLISH_WITHIN / 2 {
                        token.cancel();
                    }
                    Err(late(elapsed))
                }
            },
        }
    }
}

#[async_trait::async_trait]
impl<T: Transport> Broker for Remote<T> {
    async fn publish(&self, topic: &str, message: Bytes) -> Result<(), BrokerError> {
        check_size(&message)?;
        if self.stop.is_cancelled() {
            return Err(BrokerError::Away(None));
        }
        let deadline = Instant::now() + PUBLISH_WITHIN;
        self.send(topic, &message, deadline).await.map_err(|cause| BrokerError::Away(Some(cause)))
    }

    fn reaches_others(&self, _: &str) -> bool {
        true
    }

    fn subscribe(&self, topic: &str) -> Subscription {
        let stop = self.stop.child_token();
        let (inlet, subscription) = Inlet::new(stop.clone(), self.dropped.clone());
        if !stop.is_cancelled() {
            let what = format!("{}, topic {topic}", self.transport.name());
            let receiving = Arc::new(Receiving { inlet, share: Share::new(&self.standing, what) });
            let (transport, topic) = (self.transport.clone(), topic.to_owned());
            let line = ReceivingLine { transport, topic, receiving };
            self.tasks.spawn_on(keep_up(line, stop), &self.runtime);
        }
        subscription
    }

    fn state(&self) -> watch::Receiver<BrokerState> {
        self.standing.state()
    }

    fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    async fn close(&self) {
        self.standing.close();
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl<T: Transport> Drop for Remote<T> {
    /// The tasks end by themselves, though nobody waits for them.
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

struct SendingLine<T: Transport> {
    transport: Arc<T>,
    sending: Arc<Sending<T::Link>>,
}

#[async_trait::async_trait]
impl<T: Transport> Line for SendingLine<T> {
    async fn live(&self, stop: &CancellationToken) -> Result<(), Cause> {
        self.transport.live_sending(&self.sending, stop).await
    }

    fn away(&self, cause: &Cause) -> Option<Duration> {
        self.sending.away(cause)
    }
}

impl<T: Transport> Drop for SendingLine<T> {
    /// Nobody will bring the link back.
    fn drop(&mut self) {
        let closed = LinkState::Away(fault("the broker is closed"));
        if let LinkState::Up(_, token) = self.sending.link.send_replace(closed) {
            token.cancel();
        }
    }
}

struct ReceivingLine<T: Transport> {
    transport: Arc<T>,
    topic: String,
    receiving: Arc<Receiving>,
}

#[async_trait::async_trait]
impl<T: Transport> Line for ReceivingLine<T> {
    async fn live(&self, stop: &CancellationToken) -> Result<(), Cause> {
        self.transport.live_receiving(&self.topic, &self.receiving, stop).await
    }

    fn away(&self, cause: &Cause) -> Option<Duration> {
        let up = self.receiving.share.away(cause);
        // Before the first `Back` there is nothing to be away from.
        if up.is_some() {
            self.receiving.inlet.away();
        }
        up
    }
}
