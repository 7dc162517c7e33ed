//! Which server is dialled next: by weight among those that have not failed lately.

use std::time::Duration;

use rand::{Rng, RngCore};

use crate::config::ClientConfig;
use crate::time::Time;

/// The servers of one client, in the order of the configuration.
#[derive(Debug)]
pub struct Servers(Vec<Server>);

#[derive(Debug)]
struct Server {
    weight: u32,
    /// In a row.
    failures: u32,
    avoided_until: Time,
}

impl Servers {
    /// All of them good.
    pub fn new(config: &ClientConfig) -> Self {
        let server = |weight| Server { weight, failures: 0, avoided_until: Time::ZERO };
        Self(config.servers.iter().map(|of| server(of.weight)).collect())
    }

    /// One of those that may be tried, by weight.
    pub fn choose(&self, now: Time, rng: &mut impl RngCore) -> Option<usize> {
        let good = || self.0.iter().enumerate().filter(|(_, server)| server.avoided_until <= now);
        let total: u64 = good().map(|(_, server)| u64::from(server.weight)).sum();
        if total == 0 {
            return None;
        }
        let mut left = rng.random_range(0..total);
        for (index, server) in good() {
            match left.checked_sub(u64::from(server.weight)) {
                None => return Some(index),
                Some(rest) => left = rest,
            }
        }
        None
    }

    /// The server failed: it is avoided, twice as long as the last time. Half of the time is left to
    /// chance, so that a thousand clients that lost their server at once do not come back at once.
    pub fn fail(&mut self, now: Time, index: usize, config: &ClientConfig, rng: &mut impl RngCore) {
        let Some(server) = self.0.get_mut(index) else { return };
        server.failures = server.failures.saturating_add(1);
        let whole = config.redial_wait(server.failures).as_millis() as u64;
        let wait = Duration::from_millis(rng.random_range(whole.div_ceil(2)..=whole));
        server.avoided_until = now + wait;
    }

    /// Whether another than `index` has not failed since [`Servers::forget`].
    pub fn has_untried(&self, index: Option<usize>) -> bool {
        let mut others = self.0.iter().enumerate().filter(|(other, _)| Some(*other) != index);
        others.any(|(_, server)| server.failures == 0)
    }

    /// How often a server has failed in a row.
    pub fn failures(&self, index: usize) -> u32 {
        self.0.get(index).map_or(0, |server| server.failures)
    }

    /// The session with this server was a long one: what was before does not count.
    pub fn forgive(&mut self, index: usize) {
        if let Some(server) = self.0.get_mut(index) {
            server.failures = 0;
        }
    }

    /// Takes every server for good again.
    pub fn forget(&mut self) {
        for server in &mut self.0 {
            server.failures = 0;
            server.avoided_until = Time::ZERO;
        }
    }

    /// When the first of them may be tried.
    pub fn next_at(&self) -> Time {
        self.0.iter().map(|server| server.avoided_until).min().unwrap_or(Time::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn config(weights: &[u32]) -> ClientConfig {
        let servers: Vec<String> = weights
            .iter()
            .zip(1..)
            .map(|(weight, last)| format!("{{ address = \"192.0.2.{last}\", weight = {weight} }}"))
            .collect();
        let text = format!(
            "name = \"a\"\nuser = \"u\"\npassword = \"p\"\nredial_initial_seconds = 2\n\
             redial_max_seconds = 60\nservers = [{}]\n",
            servers.join(", ")
        );
        toml::from_str(&text).unwrap()
    }

    fn rng() -> StdRng {
        StdRng::seed_from_u64(7)
    }

    #[test]
    fn weights_decide_how_often_each_is_chosen() {
        let (servers, mut rng) = (Servers::new(&config(&[1, 3, 6])), rng());
        let mut chosen = [0_u32; 3];
        for _ in 0..10_000 {
            chosen[servers.choose(Time::ZERO, &mut rng).unwrap()] += 1;
        }
        for (count, expected) in chosen.iter().zip([1000, 3000, 6000]) {
            assert!(count.abs_diff(expected) < 200, "{chosen:?}");
        }
    }

    #[test]
    fn who_failed_is_avoided_twice_as_long_each_time_up_to_the_most() {
        let config = config(&[1]);
        let (mut servers, mut rng) = (Servers::new(&config), rng());
        let mut now = Time::ZERO + Duration::from_secs(1000);
        for most in [2, 4, 8, 16, 32, 60, 60, 60] {
            servers.fail(now, 0, &config, &mut rng);
            let wait = servers.next_at().since(now);
            let most = Duration::from_secs(most);
            assert!(wait >= most / 2 && wait <= most, "{wait:?} of {most:?}");
            assert_eq!(servers.choose(now, &mut rng), None);
            assert_eq!(servers.choose(now + most, &mut rng), Some(0));
            now = now + most;
        }
        servers.forgive(0);
        servers.fail(now, 0, &config, &mut rng);
        assert!(servers.next_at().since(now) <= Duration::from_secs(2));
        servers.forget();
        assert_eq!(servers.choose(now, &mut rng), Some(0));
    }

    #[test]
    fn waits_differ_by_chance() {
        let config = config(&[1]);
        let mut rng = rng();
        let waits: std::collections::BTreeSet<Duration> = (0..100)
            .map(|_| {
                let mut servers = Servers::new(&config);
                servers.fail(Time::ZERO, 0, &config, &mut rng);
                servers.next_at() - Time::ZERO
            })
            .collect();
        assert!(waits.len() > 50, "{}", waits.len());
    }

    #[test]
    fn another_is_chosen_while_one_is_avoided() {
        let config = config(&[1000, 1]);
        let (mut servers, mut rng) = (Servers::new(&config), rng());
        servers.fail(Time::ZERO, 0, &config, &mut rng);
        assert!((0..100).all(|_| servers.choose(Time::ZERO, &mut rng) == Some(1)));
        assert!(servers.has_untried(Some(0)) && !servers.has_untried(Some(1)));
        servers.fail(Time::ZERO, 1, &config, &mut rng);
        assert!(!servers.has_untried(None));
    }
}
