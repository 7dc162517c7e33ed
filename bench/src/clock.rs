//! The clocks of a measurement: nanoseconds, and the time-stamp counter beside them.

use std::time::{Duration, Instant};

/// Now.
#[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
pub fn now() -> Instant {
    Instant::now()
}

/// The time-stamp counter; 0 where there is none.
#[inline]
pub fn ticks() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 has these; the fence keeps the work on its side of the reading.
    unsafe {
        std::arch::x86_64::_mm_lfence();
        std::arch::x86_64::_rdtsc()
    }
    #[cfg(not(target_arch = "x86_64"))]
    0
}

/// Ticks of the time-stamp counter in a nanosecond, measured over `span`.
pub fn ticks_per_nanosecond(span: Duration) -> f64 {
    let (start, first) = (now(), ticks());
    while start.elapsed() < span {
        std::hint::spin_loop();
    }
    let (last, elapsed) = (ticks(), start.elapsed());
    (last - first) as f64 / elapsed.as_nanos() as f64
}
