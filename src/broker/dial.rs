//! From a host's name to a connection, with all of its addresses given their chance: one that swallows
//! what is sent to it must not keep us from the next, today or at any later attempt.

use std::{io, net::SocketAddr, time::Duration};

use rand::seq::SliceRandom;
use tokio::{net::lookup_host, time::timeout};

/// How long one address may take where there are others.
const ADDRESS_WITHIN: Duration = Duration::from_secs(1);

/// Looks the name up, and connects to the first of its addresses that answers, in random order. The
/// last error is told. The whole is to be bounded by the caller.
pub(super) async fn dial<S, F>(host: &str, port: u16, connect: impl Fn(SocketAddr) -> F) -> io::Result<S>
where
    F: Future<Output = io::Result<S>>,
{
    let mut addresses: Vec<_> = lookup_host((host, port)).await?.collect();
    addresses.shuffle(&mut rand::rng());
    first_of(&addresses, connect).await
}

async fn first_of<S, F>(addresses: &[SocketAddr], connect: impl Fn(SocketAddr) -> F) -> io::Result<S>
where
    F: Future<Output = io::Result<S>>,
{
    if let [only] = addresses {
        return connect(*only).await;
    }
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in addresses {
        match timeout(ADDRESS_WITHIN, connect(*address)).await {
            Ok(Ok(connected)) => return Ok(connected),
            Ok(Err(error)) => failure = error,
            Err(_) => failure = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_that_swallows_everything_is_passed_over() {
        let addresses = [1, 2, 3].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let connected = first_of(&addresses, |address| async move {
            match address.port() {
                1 => std::future::pending().await,
                2 => Err(io::ErrorKind::ConnectionRefused.into()),
                port => Ok(port),
            }
        });
        assert_eq!(connected.await.expect("the third one answers"), 3);
    }
}
