//! Echo-Requests of the worker's own, between batches.

use super::{Io, PARK_MILLISECONDS};
use crate::frame::Frame;
use crate::pipeline::Pipeline;
use crate::tables::Guard;
use crate::verdict::Verdict;

impl Io {
    /// Sends the Echo-Requests that are due, a bounded number. Returns whether more are, so that the
    /// worker does not sleep over them.
    pub(super) fn monitor(
        &mut self,
        pipeline: &mut Pipeline,
        guard: &Guard<'_>,
        batch: &mut Vec<Frame>,
        verdicts: &mut Vec<Verdict>,
    ) -> bool {
        if !pipeline.is_monitoring() {
            return false;
        }
        pipeline.set_time(self.clock.now());
        verdicts.clear();
        let (pool, host_port) = (&mut self.pool, self.host_port);
        let more = pipeline.monitor(guard, || pool.take(host_port), batch, verdicts);
        if !batch.is_empty() {
            self.settle(0, batch, verdicts, pipeline.extras());
        }
        more
    }
}

/// How long a worker may sleep at most, milliseconds, until the next request is due.
pub(super) fn park_milliseconds(pipeline: &Pipeline) -> i32 {
    let Some(wait) = pipeline.monitor_wait() else { return PARK_MILLISECONDS };
    // To the end of a millisecond, and never without one: there is no finer sleep, and what comes due
    // in between is few.
    let milliseconds = i32::try_from(wait.div_ceil(1_000_000)).unwrap_or(PARK_MILLISECONDS);
    milliseconds.clamp(1, PARK_MILLISECONDS)
}

#[cfg(test)]
mod tests {
    use super::super::look::Look;
    use super::super::tests::Bench;
    use super::*;
    use crate::pipeline::ECHOES_MAX;
    use crate::quality::Settings;
    use crate::wire::ppp;

    const SETTINGS: Settings = Settings { interval_ms: 100, loss_after_ms: 300 };

    /// The Echo-Requests that left by port 0.
    fn collect(bench: &mut Bench) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| bench.wires[0].collect(&bench.memory)).collect()
    }

    #[test]
    fn requests_leave_and_every_frame_comes_back() {
        let mut bench = Bench::with_sessions(Some(SETTINGS), 1);
        let free = bench.worker.io.pool.free();
        let mut sent = Vec::new();
        // Real time passes here; it decides when, not whether.
        while sent.len() < 3 {
            bench.worker.turn(Look::Host);
            sent.extend(collect(&mut bench));
        }
        bench.worker.turn(Look::Host);
        let request = &sent[0];
        // Ethernet, IPv4, UDP, L2TP, address, control and protocol in front.
        let packet = &request[14 + 20 + 8 + 6 + 4..];
        assert_eq!((packet[0], packet.len()), (ppp::ECHO_REQUEST, 24));
        let counters = bench.worker.io.shard().worker();
        assert_eq!(counters.originated, counters.transmitted + counters.dropped);
        assert!(counters.originated >= 3);
        collect(&mut bench);
        bench.worker.turn(Look::Host);
        assert_eq!(bench.worker.missing(), 0);
        assert!(bench.worker.io.pool.free() + ECHOES_MAX >= free);
    }

    #[test]
    fn a_worker_sleeps_no_longer_than_until_the_next_request() {
        let mut bench = Bench::with_sessions(Some(SETTINGS), 1);
        bench.worker.turn(Look::Host);
        let wait = park_milliseconds(&bench.worker.pipeline);
        assert!((1..=100).contains(&wait), "{wait}");
        let silent = Bench::with_sessions(None, 1);
        assert_eq!(park_milliseconds(&silent.worker.pipeline), PARK_MILLISECONDS);
    }

    #[test]
    fn without_settings_nothing_is_sent() {
        let mut bench = Bench::with_sessions(None, 1);
        for _ in 0..10 {
            assert_eq!(bench.worker.turn(Look::Host), 0);
        }
        assert!(collect(&mut bench).is_empty());
        assert_eq!(bench.worker.io.shard().worker().originated, 0);
    }
}
