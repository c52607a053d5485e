//! How often a client may call: buckets that fill at a steady rate. Pure: the time is an argument.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Clients that are remembered. Beyond it the fullest buckets are forgotten, which costs nobody anything.
const CLIENTS: usize = 16_384;

/// Limits the number of calls of each client.
#[derive(Debug)]
pub struct Limiter {
    /// Calls at once.
    capacity: f64,
    /// And how many more a second.
    rate: f64,
    buckets: HashMap<IpAddr, Bucket>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Limiter {
    /// `capacity` calls at once, and `rate` a second.
    pub fn new(capacity: u32, rate: f64) -> Self {
        Self { capacity: f64::from(capacity.max(1)), rate: rate.max(1e-6), buckets: HashMap::new() }
    }

    /// Takes one call of this client.
    ///
    /// # Errors
    /// With the time until there is one.
    pub fn take(&mut self, client: IpAddr, now: Instant) -> Result<(), Duration> {
        let left = self.left(client, now);
        if left < 1.0 {
            return Err(self.until_one(left));
        }
        self.set(client, left - 1.0, now);
        Ok(())
    }

    /// Whether one could be taken, without taking it.
    ///
    /// # Errors
    /// With the time until there is one.
    pub fn look(&self, client: IpAddr, now: Instant) -> Result<(), Duration> {
        let left = self.left(client, now);
        if left < 1.0 { Err(self.until_one(left)) } else { Ok(()) }
    }

    fn left(&self, client: IpAddr, now: Instant) -> f64 {
        match self.buckets.get(&client) {
            None => self.capacity,
            Some(bucket) => {
                let waited = now.saturating_duration_since(bucket.at).as_secs_f64();
                (bucket.left + waited * self.rate).min(self.capacity)
            }
        }
    }

    fn until_one(&self, left: f64) -> Duration {
        Duration::try_from_secs_f64((1.0 - left) / self.rate).unwrap_or(Duration::MAX)
    }

    fn set(&mut self, client: IpAddr, left: f64, now: Instant) {
        if self.buckets.len() >= CLIENTS && !self.buckets.contains_key(&client) {
            self.forget(now);
        }
        self.buckets.insert(client, Bucket { left, at: now });
    }

    /// Forgets the fuller half. A client that is forgotten has a full bucket again, so that is the half that loses least.
    fn forget(&mut self, now: Instant) {
        let mut levels: Vec<f64> = self.buckets.keys().map(|client| self.left(*client, now)).collect();
        let middle = levels.len() / 2;
        let (_, median, _) = levels.select_nth_unstable_by(middle, f64::total_cmp);
        let median = *median;
        let mut room = self.buckets.len() - middle;
        let (rate, capacity) = (self.rate, self.capacity);
        self.buckets.retain(|_, bucket| {
            let waited = now.saturating_duration_since(bucket.at).as_secs_f64();
            let full = (bucket.left + waited * rate).min(capacity) >= median;
            let forgotten = full && room > 0;
            room -= usize::from(forgotten);
            !forgotten
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> IpAddr {
        std::net::Ipv4Addr::from(number).into()
    }

    #[test]
    fn a_client_has_its_burst_then_its_rate_and_takes_nothing_of_others() {
        let mut limiter = Limiter::new(3, 2.0);
        let start = Instant::now();
        for _ in 0..3 {
            limiter.take(address(1), start).unwrap();
        }
        assert_eq!(limiter.take(address(1), start), Err(Duration::from_millis(500)));
        assert_eq!(limiter.look(address(1), start), Err(Duration::from_millis(500)));
        limiter.take(address(2), start).unwrap();
        let later = start + Duration::from_millis(500);
        limiter.take(address(1), later).unwrap();
        assert!(limiter.take(address(1), later).is_err());
        let much_later = start + Duration::from_secs(3600);
        assert_eq!((0..10).filter(|_| limiter.take(address(1), much_later).is_ok()).count(), 3);
    }

    #[test]
    fn however_many_clients_come_memory_is_bounded_and_who_is_at_the_limit_stays_there() {
        let mut limiter = Limiter::new(2, 0.001);
        let now = Instant::now();
        limiter.take(address(0), now).unwrap();
        limiter.take(address(0), now).unwrap();
        for number in 1..100_000 {
            limiter.take(address(number), now).unwrap();
        }
        assert!(limiter.buckets.len() <= CLIENTS);
        assert!(limiter.take(address(0), now).is_err());
    }
}
