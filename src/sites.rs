//! How often a site may do something: it is an address, or a network where one is had as easily.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;

use governor::clock::Clock as _;
use governor::{DefaultKeyedRateLimiter, Quota};

/// Sites that are remembered at a time; past it all are refused as if they came too often, until some are forgotten.
const SITES_MAX: usize = 100_000;

/// Counts by site.
pub struct Sites(Option<DefaultKeyedRateLimiter<IpAddr>>);

impl Sites {
    /// 0: no limit.
    pub fn per_second(most: u32) -> Self {
        Self::new(NonZeroU32::new(most).map(Quota::per_second))
    }

    /// 0: no limit.
    pub fn per_minute(most: u32) -> Self {
        Self::new(NonZeroU32::new(most).map(Quota::per_minute))
    }

    fn new(quota: Option<Quota>) -> Self {
        Self(quota.map(DefaultKeyedRateLimiter::keyed))
    }

    /// Counts one.
    ///
    /// # Errors
    /// Where it is one too many: with the seconds until the next one is heard.
    pub fn count(&self, client: IpAddr) -> Result<(), u32> {
        let Some(limiter) = &self.0 else { return Ok(()) };
        if limiter.len() >= SITES_MAX {
            return Err(1);
        }
        limiter.check_key(&of_one_site(client)).map_err(|early| {
            let wait = early.wait_time_from(limiter.clock().now());
            u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).saturating_add(1)
        })
    }

    /// Forgets sites that have been quiet. Called again and again.
    pub fn forget(&self) {
        if let Some(limiter) = &self.0 {
            limiter.retain_recent();
        }
    }
}

/// Whoever has one address of IPv6 mostly has a network of 64 bits of them.
fn of_one_site(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_own_count_and_a_network_of_ipv6_one() {
        let failures = Sites::per_minute(2);
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(failures.count(address("192.0.2.1")).is_ok() && failures.count(address("192.0.2.1")).is_ok());
        let wait = failures.count(address("::ffff:192.0.2.1")).unwrap_err();
        assert!((1..=31).contains(&wait), "{wait}");
        assert!(failures.count(address("192.0.2.2")).is_ok());
        assert!(
            failures.count(address("2001:db8::1")).is_ok() && failures.count(address("2001:db8::2")).is_ok()
        );
        assert!(failures.count(address("2001:db8::3")).is_err());
        assert!(failures.count(address("2001:db8:0:1::1")).is_ok());
        let unlimited = Sites::per_minute(0);
        assert!((0..1000).all(|_| unlimited.count(address("192.0.2.1")).is_ok()));
    }

    #[test]
    fn so_many_sites_are_remembered_and_no_more() {
        let sites = Sites::per_second(1);
        let site = |number: usize| IpAddr::from(Ipv6Addr::from_bits((number as u128) << 64));
        assert!((0..SITES_MAX).all(|number| sites.count(site(number)).is_ok()));
        assert!(sites.count(site(SITES_MAX)).is_err());
    }
}
